#include "agent-primary/ship/plan_shipper.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "agent-primary/capture/file_capture.h"
#include "agent-primary/ship/capture_moment.h"
#include "agent-primary/ship/commit_builder.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/model/path.h"
#include "core/os/metadata.h"

namespace understudy::primary {
namespace {

using model::FileKind;

// Each holds a descriptor; what is past the bound is frozen when its turn comes.
constexpr size_t kMaxFrozen = 256;

bool IsNode(FileKind kind) {
  return kind == FileKind::kFifo || kind == FileKind::kSocket || kind == FileKind::kCharacterDevice ||
         kind == FileKind::kBlockDevice;
}

class PlanShipper {
 public:
  PlanShipper(const CaptureContext& context, const Plan& plan, CaptureResult& result)
      : context_(context),
        plan_(plan),
        result_(result),
        builder_(context.volume, context.now_nanoseconds, context.index, context.sink, context.most_inline_bytes),
        moment_(context.root, context.fine_times) {}

  absl::Status Run() {
    RETURN_IF_ERROR(FreezeLargeFiles());
    moment_.Pass();
    RETURN_IF_ERROR(AddMovesAndRemovals());
    if (context_.removals_first && plan_.moves.empty()) RETURN_IF_ERROR(SubmitRemovals());
    if (plan_.moves.empty()) {
      // Folder by folder, so that DR gets each new one in one commit with what is in it, as far as that goes.
      RETURN_IF_ERROR(AddAll([](const PlannedEntry&) { return true; }));
    } else {
      RETURN_IF_ERROR(AddAll([](const PlannedEntry& entry) { return entry.stat.kind != FileKind::kRegular; }));
      RETURN_IF_ERROR(AddAll([](const PlannedEntry& entry) { return entry.stat.kind == FileKind::kRegular; }));
    }
    for (const PlannedLinks& links : plan_.links) RETURN_IF_ERROR(AddLinks(links));
    disturbed_.insert(plan_.bereft.begin(), plan_.bereft.end());
    for (const auto& [path, entry] : folders_) {
      if (!disturbed_.contains(path)) RETURN_IF_ERROR(SettleFolder(path, entry));
    }
    for (const std::string& path : disturbed_) RETURN_IF_ERROR(SettleFolder(path, nullptr));
    const bool whole =
        !result_.more && !context_.lacks_entries && result_.unreadable.empty() && result_.postponed.empty();
    if (whole) result_.consistency = ConsistencyNow();
    const bool says_so = context_.known_consistency.has_value() && *context_.known_consistency < result_.consistency;
    return builder_.Finish(/*completes_capture=*/whole, result_.consistency, says_so);
  }

 private:
  model::Consistency ConsistencyNow() const {
    const bool told = moment_.is_one() && context_.is_all_told && context_.is_all_told(moment_.frozen());
    return told ? model::Consistency::kCrashConsistent : model::Consistency::kFuzzy;
  }

  // Of those that aren't seen to elsewhere.
  template <typename Which>
  absl::Status AddAll(Which which) {
    for (const PlannedEntry& entry : plan_.entries) {
      if (entry.linked || !which(entry)) continue;
      if (entry.stat.kind != FileKind::kRegular) {
        RETURN_IF_ERROR(AddEntry(entry));
      } else if (!entry.move_slot.has_value()) {
        RETURN_IF_ERROR(AddFile(entry));
      }
    }
    return absl::OkStatus();
  }

  // All at one moment, as near as can be, and before anything of the capture is read.
  absl::Status FreezeLargeFiles() {
    if (context_.bases == nullptr || context_.strategy != Strategy::kAuto) return absl::OkStatus();
    std::map<uint64_t, const PlannedEntry*> large;  // by inode
    for (const PlannedEntry& entry : plan_.entries) {
      if (entry.stat.kind != FileKind::kRegular || !context_.bases->IsFor(entry.stat.size) || Rests(entry)) continue;
      if (large.size() < kMaxFrozen) large.emplace(entry.stat.inode, &entry);
    }
    // What takes its time comes before the first of them is frozen.
    if (large.size() > 1) {
      for (const auto& [inode, entry] : large) WriteDirtyPages(entry->path);
    }
    // What is written to all the time comes last: the others then stand still until all are frozen.
    std::vector<const PlannedEntry*> in_order;
    for (const auto& [inode, entry] : large) in_order.push_back(entry);
    std::stable_sort(in_order.begin(), in_order.end(), [](const PlannedEntry* a, const PlannedEntry* b) {
      return a->stat.ctime_nanoseconds < b->stat.ctime_nanoseconds;
    });
    for (const PlannedEntry* const planned : in_order) {
      const PlannedEntry& entry = *planned;
      if (context_.stop.stop_requested()) return absl::CancelledError("the agent stops");
      absl::StatusOr<OpenedFile> opened = OpenForCapture(RequestFor(entry));
      // What can't be opened is met again when its turn comes; a file that isn't frozen is read as it is then.
      if (!opened.ok() || !opened->frozen.has_value() || opened->stat.inode != entry.stat.inode) continue;
      moment_.AddFrozen(entry.path, opened->stat);
      opened_.emplace(entry.stat.inode, *std::move(opened));
    }
    return absl::OkStatus();
  }

  // What fails here fails again where it is told of.
  void WriteDirtyPages(const std::string& path) const {
    const absl::StatusOr<os::Fd> file = context_.root.OpenPath(path, O_RDONLY | O_NONBLOCK | O_NOATIME);
    if (file.ok()) (void)fdatasync(file->get());
  }

  // A large file that was frozen a moment ago can wait, so that its writers needn't; not where names are at stake, and
  // not for a barrier.
  bool Rests(const PlannedEntry& entry) const {
    if (context_.bases == nullptr || context_.ignores_rests || entry.stat.kind != FileKind::kRegular) return false;
    if (opened_.contains(entry.stat.inode)) return false;  // it is since this capture froze it
    if (!entry.base.has_value() || entry.move_slot.has_value() || entry.base->row.inode != entry.stat.inode)
      return false;
    if (entry.linked && entry.base->row.file == 0) return false;
    return context_.bases->RestsUntil(entry.stat.inode) > context_.clock.Monotonic();
  }

  void Postpone(const PlannedEntry& entry) {
    result_.postponed[entry.path] = context_.bases->RestsUntil(entry.stat.inode);
  }

  bool AllRest(const PlannedLinks& links) const {
    return std::all_of(links.names.begin(), links.names.end(), [&](size_t name) {
      const PlannedEntry& entry = plan_.entries[name];
      return Rests(entry) && entry.base->row.file == plan_.entries[links.names.front()].base->row.file;
    });
  }

  // All in one commit, with what moved files need, so that nothing is submitted between a Detach and its Attach.
  absl::Status AddMovesAndRemovals() {
    std::map<std::string, const PlannedEntry*> targets;  // by path of the source
    for (const PlannedEntry& entry : plan_.entries) {
      if (entry.move_slot.has_value()) targets[entry.base->path] = &entry;
    }
    for (const Plan::Move& move : plan_.moves) {
      const PlannedEntry& target = *targets.at(move.source.path);
      if (target.stat.kind == FileKind::kRegular) {
        RETURN_IF_ERROR(AddMovedFile(target));
      } else {
        AddMove(move.source.path, target.path);
      }
    }
    for (const IndexEntry& removal : plan_.removals) {
      if (plan_.moves.empty()) RETURN_IF_ERROR(builder_.MakeRoom(0));
      builder_.Add(model::Remove{removal.path, removal.row.kind}, {RemoveRow{removal.path}});
    }
    return absl::OkStatus();
  }

  // Without moves a folder has its path before and after, and what comes to a name follows what went from it.
  absl::Status SubmitRemovals() {
    if (plan_.removals.empty()) return absl::OkStatus();
    for (const std::string& path : plan_.bereft) RETURN_IF_ERROR(SettleFolder(path, nullptr));
    return builder_.SubmitPart();
  }

  void AddMove(const std::string& from, const std::string& to) {
    const model::Slot slot = builder_.NewSlot();
    builder_.Add(model::Detach{from, slot}, {DetachRows{from, slot}});
    builder_.Add(model::Attach{slot, to}, {AttachRows{slot, to}});
    Disturb(to);
  }

  // Publishing something at `path` changes the times of the folder that it is in.
  void Disturb(const std::string& path) { disturbed_.insert(std::string(model::Parent(path))); }

  absl::Status AddMovedFile(const PlannedEntry& entry) {
    ASSIGN_OR_RETURN(std::optional<CapturedFile> file, Capture(entry));
    const std::string& source = entry.base->path;
    const bool gone = !file.has_value() && !result_.unreadable.contains(entry.path);
    const bool replaced = file.has_value() && file->content_changed && !CanPatch(entry, *file);
    if (gone || replaced) {  // when it is gone again, the source is gone in any case
      builder_.Add(model::Remove{source, FileKind::kRegular}, {RemoveRow{source}});
    } else {
      AddMove(source, entry.path);
    }
    return file.has_value() ? AddCaptured(entry, *std::move(file)) : absl::OkStatus();
  }

  // Without a slot.
  CaptureRequest RequestFor(const PlannedEntry& entry) const {
    // What the index knows of other names holds for this file alone.
    const bool has_names = entry.linked || (entry.base.has_value() && entry.base->row.file != 0);
    return {.root = context_.root,
            .index = context_.index,
            .sink = context_.sink,
            .volume = context_.volume,
            .path = entry.path,
            .base = entry.base,
            .strategy = context_.strategy,
            .stop = context_.stop,
            .labels = context_.labels,
            .inode = has_names ? entry.stat.inode : 0,
            .leftovers = context_.leftovers,
            .bases = context_.bases};
  }

  absl::StatusOr<CapturedFile> OpenAndCapture(const CaptureRequest& request, const os::EntryStat& looked,
                                              uint64_t inode) {
    if (auto opened = opened_.extract(inode)) {
      // Copies that were given up since are read as they stand.
      if (opened.mapped().frozen->CheckHolds().ok()) return CaptureFile(request, std::move(opened.mapped()));
      opened_.clear();
    }
    ASSIGN_OR_RETURN(OpenedFile opened, OpenForCapture(request));
    absl::StatusOr<CapturedFile> file = CaptureFile(request, std::move(opened));
    if (file.ok()) moment_.AddRead(looked, *file);
    return file;
  }

  // nullopt: it is gone, or can't be read; that doesn't hold up the others.
  absl::StatusOr<std::optional<CapturedFile>> Capture(const PlannedEntry& entry) {
    CaptureRequest request = RequestFor(entry);
    request.slot = builder_.NewSlot();
    // Once moves were submitted, what moved along with a folder is where it will be.
    if (builder_.submitted_any() && request.base.has_value()) request.base->path = entry.path;
    absl::StatusOr<CapturedFile> file = OpenAndCapture(request, entry.stat, entry.stat.inode);
    if (IsOfCopy(file.status())) {
      spdlog::warn("volume={} a copy of '{}' can't be read, so it is read itself: {}", context_.volume,
                   Printable(entry.path), MessageOf(file.status()));
      request.slot = builder_.NewSlot();
      request.bases = nullptr;
      file = OpenAndCapture(request, entry.stat, /*inode=*/0);
    }
    // Another file than the one that the plan was made for: its other names weren't looked at.
    if (file.ok() && file->stat.inode != entry.stat.inode) file->unsettled = true;
    if (absl::IsNotFound(file.status()) || (file.ok() && file->unsettled)) result_.look_again.push_back(entry.path);
    if (absl::IsNotFound(file.status())) return std::nullopt;
    if (IsOfSource(file.status())) {
      PassOver(entry.path, file.status());
      return std::nullopt;
    }
    RETURN_IF_ERROR(file.status());
    const bool staged = file->content_changed && std::holds_alternative<model::Slot>(file->content);
    if (!staged && !file->slot_taken) builder_.GiveBack(request.slot);
    const bool large = context_.bases != nullptr && context_.bases->IsFor(file->stat.size);
    if (large && (!result_.largest_look.has_value() || file->stat.size > result_.largest_look->size)) {
      result_.largest_look = LargeFileLook{entry.path, file->stat.size, file->why_not_extents};
    }
    if (std::optional<FileLook> look = LookOf(entry.path, *file)) result_.looks.Add(*std::move(look));
    return *std::move(file);
  }

  void PassOver(const std::string& path, const absl::Status& why) {
    result_.unreadable[path] = std::string(MessageOf(why));
  }

  // The content reaches the file that DR has already, whatever names that has.
  static bool CanPatch(const PlannedEntry& entry, const CapturedFile& file) {
    if (!file.extends_base) return false;
    return entry.base->row.inode == file.stat.inode || IsInventoried(entry.base->row);
  }

  absl::Status AddFile(const PlannedEntry& entry) {
    if (context_.stop.stop_requested()) return absl::CancelledError("the agent stops");
    if (!entry.linked && Rests(entry)) {
      Postpone(entry);
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(builder_.MakeRoom(std::min(entry.stat.size, kMaxInlineContentBytes)));
    ASSIGN_OR_RETURN(std::optional<CapturedFile> file, Capture(entry));
    return file.has_value() ? AddCaptured(entry, *std::move(file)) : absl::OkStatus();
  }

  absl::Status AddCaptured(const PlannedEntry& entry, CapturedFile file) {
    UNDERSTUDY_CHECK(file.content_changed || entry.base.has_value());
    const bool stays = !file.content_changed || CanPatch(entry, file);
    IndexRow row = MakeRow(file.stat, file.metadata.xattrs, file.digest);
    if (file.unsettled) row.ctime_nanoseconds = kUnsettledCtime;
    ASSIGN_OR_RETURN(row.file, FileOf(entry, stays));
    if (entry.linked) carried_[entry.path] = row;
    std::vector<IndexChange> changes = std::move(file.segment_changes);
    changes.push_back(PutRow{entry.path, row});
    if (file.content_changed) {
      AddContent(entry.path, std::move(file), std::move(changes), /*patch=*/stays);
    } else if (HasMetadata(entry.base->row, file.metadata)) {
      // The rows of a move are put in place by its Attach first.
      builder_.AddRefresh(std::move(changes));
    } else {
      builder_.Add(model::SetMetadata{entry.path, FileKind::kRegular, std::move(file.metadata)}, std::move(changes));
    }
    return absl::OkStatus();
  }

  // IndexRow::file of what the entry becomes; `stays`: DR's file stays the same one.
  absl::StatusOr<uint64_t> FileOf(const PlannedEntry& entry, bool stays) {
    if (stays && entry.base->row.file != 0) return entry.base->row.file;
    if (!entry.linked) return 0;
    return context_.index.NewFile();
  }

  void AddContent(const std::string& path, CapturedFile file, std::vector<IndexChange> changes, bool patch) {
    const auto* inlined = std::get_if<std::string>(&file.content);
    const uint64_t inline_bytes = inlined != nullptr ? inlined->size() : 0;
    if (inlined == nullptr) builder_.AddStagedBytes(file.bytes_sent + file.bytes_resumed);
    result_.content_bytes_sent += file.bytes_sent;
    if (result_.rung.empty() || file.stat.size > largest_sent_) {
      largest_sent_ = file.stat.size;
      result_.rung = file.rung;
    }
    if (patch) {
      const auto slot = std::get<model::Slot>(file.content);
      builder_.Add(model::Patch{path, std::move(file.metadata), file.stat.size, file.digest, slot}, std::move(changes));
      return;
    }
    Disturb(path);
    builder_.Add(model::Put{path, std::move(file.metadata), file.stat.size, file.digest, std::move(file.content)},
                 std::move(changes), inline_bytes);
  }

  // One look at the file, whatever it is, and the rest by name.
  absl::Status AddLinks(const PlannedLinks& links) {
    if (!links.settled.has_value() && AllRest(links)) {
      for (const size_t name : links.names) Postpone(plan_.entries[name]);
      return absl::OkStatus();
    }
    std::optional<IndexEntry> carrier = links.settled;
    size_t next = 0;
    for (; !carrier.has_value() && next < links.names.size(); ++next) {
      const PlannedEntry& entry = plan_.entries[links.names[next]];
      if (entry.stat.kind != FileKind::kRegular) {
        RETURN_IF_ERROR(AddEntry(entry));
      } else if (!entry.move_slot.has_value()) {  // else it was captured with its move
        RETURN_IF_ERROR(AddFile(entry));
      }
      const auto carried = carried_.find(entry.path);
      if (carried != carried_.end()) carrier = IndexEntry{entry.path, carried->second};
      const auto unreadable = result_.unreadable.find(entry.path);
      if (unreadable != result_.unreadable.end()) {  // so are its other names
        for (; next < links.names.size(); ++next) {
          result_.unreadable.emplace(plan_.entries[links.names[next]].path, unreadable->second);
        }
        return absl::OkStatus();
      }
    }
    for (; next < links.names.size(); ++next) RETURN_IF_ERROR(AddName(plan_.entries[links.names[next]], *carrier));
    return absl::OkStatus();
  }

  absl::Status AddName(const PlannedEntry& entry, IndexEntry& carrier) {
    RETURN_IF_ERROR(builder_.MakeRoom(0));
    std::vector<IndexChange> changes;
    if (carrier.row.file == 0) {
      ASSIGN_OR_RETURN(carrier.row.file, context_.index.NewFile());
      changes.push_back(PutRow{carrier.path, carrier.row});
    }
    IndexRow row = carrier.row;
    if (entry.stat.ctime_nanoseconds > row.ctime_nanoseconds) {  // it changed since the carrier was looked at
      row.ctime_nanoseconds = kUnsettledCtime;
      result_.look_again.push_back(entry.path);
    }
    changes.push_back(PutRow{entry.path, row});
    if (entry.base.has_value() && AreSameFile(entry.base->row, carrier.row)) {
      builder_.AddRefresh(std::move(changes));
    } else {
      Disturb(entry.path);
      builder_.Add(model::Link{entry.path, carrier.path}, std::move(changes));
    }
    return absl::OkStatus();
  }

  absl::Status AddEntry(const PlannedEntry& entry) {
    RETURN_IF_ERROR(plan_.moves.empty() || builder_.submitted_any() ? builder_.MakeRoom(0) : absl::OkStatus());
    if (entry.stat.kind == FileKind::kDirectory) return AddFolder(entry);
    ASSIGN_OR_RETURN(const std::optional<model::Metadata> metadata, MetadataNow(entry.path, entry.stat));
    if (!metadata.has_value()) return absl::OkStatus();
    std::string target;
    if (entry.stat.kind == FileKind::kSymlink) {
      absl::StatusOr<std::string> read = context_.root.ReadLink(entry.path);
      if (absl::IsNotFound(read.status()) || absl::IsInvalidArgument(read.status())) {  // gone, or another kind by now
        result_.look_again.push_back(entry.path);
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(read.status());
      target = *std::move(read);
    }
    if (entry.linked) {  // what was read has to be of the file that its other names are of
      const absl::StatusOr<os::EntryStat> now = context_.root.Stat(entry.path);
      if (absl::IsNotFound(now.status()) || (now.ok() && now->inode != entry.stat.inode)) {
        result_.look_again.push_back(entry.path);
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(now.status());
    }
    const model::Digest content = entry.stat.kind == FileKind::kSymlink ? delta::DigestOf(target) : model::Digest{};
    IndexRow row = MakeRow(entry.stat, metadata->xattrs, content);
    const bool same =
        entry.base.has_value() && entry.base->row.content == content && entry.base->row.device == row.device;
    ASSIGN_OR_RETURN(row.file, FileOf(entry, same));
    if (entry.linked) carried_[entry.path] = row;
    std::vector<IndexChange> changes = {PutRow{entry.path, row}};
    if (same && HasMetadata(entry.base->row, *metadata)) {
      builder_.AddRefresh(std::move(changes));
    } else if (same) {
      builder_.Add(model::SetMetadata{entry.path, entry.stat.kind, *metadata}, std::move(changes));
    } else if (IsNode(entry.stat.kind)) {
      Disturb(entry.path);
      builder_.Add(model::MakeNode{entry.path, entry.stat.kind, entry.stat.device, *metadata}, std::move(changes));
    } else {
      Disturb(entry.path);
      builder_.Add(model::MakeSymlink{entry.path, std::move(target), *metadata}, std::move(changes));
    }
    return absl::OkStatus();
  }

  absl::Status AddFolder(const PlannedEntry& entry) {
    folders_.emplace(entry.path, &entry);
    if (entry.base.has_value() || entry.path.empty()) return absl::OkStatus();
    Disturb(entry.path);
    disturbed_.insert(entry.path);
    // Made even if it is gone by now: its entries, if there are any, need it; the next look removes it.
    builder_.Add(model::MakeDirectory{entry.path, os::MetadataOf(entry.stat)},
                 {PutRow{entry.path, MakeRow(entry.stat, {}, {})}});
    return absl::OkStatus();
  }

  // nullopt: nothing of that kind is there any more.
  absl::StatusOr<std::optional<model::Metadata>> MetadataNow(const std::string& path, const os::EntryStat& stat) {
    model::Metadata metadata = os::MetadataOf(stat);
    absl::StatusOr<std::vector<model::Xattr>> xattrs = [&]() -> absl::StatusOr<std::vector<model::Xattr>> {
      if (path.empty()) return os::ReadXattrs(context_.root.fd(), "", context_.labels);
      ASSIGN_OR_RETURN(const os::ParentAndName place, context_.root.OpenParent(path));
      return os::ReadXattrs(place.folder.get(), place.name, context_.labels);
    }();
    if (absl::IsNotFound(xattrs.status())) {
      result_.look_again.push_back(path);
      return std::nullopt;
    }
    if (!xattrs.ok()) {
      PassOver(path, xattrs.status());
      return std::nullopt;
    }
    metadata.xattrs = *std::move(xattrs);
    return metadata;
  }

  // Gives a folder the metadata that it has now. With `entry`, publishing doesn't disturb it, and what the index knows
  // may do.
  absl::Status SettleFolder(const std::string& path, const PlannedEntry* entry) {
    RETURN_IF_ERROR(builder_.MakeRoom(0));
    const absl::StatusOr<os::EntryStat> stat = context_.root.Stat(path);
    if (absl::IsNotFound(stat.status()) || (stat.ok() && stat->kind != FileKind::kDirectory)) {
      result_.look_again.push_back(path);
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(stat.status());
    ASSIGN_OR_RETURN(std::optional<model::Metadata> metadata, MetadataNow(path, *stat));
    if (!metadata.has_value()) return absl::OkStatus();
    IndexRow row = MakeRow(*stat, metadata->xattrs, {});
    if (IsRacilyClean(stat->ctime_nanoseconds)) {
      row.ctime_nanoseconds = kUnsettledCtime;
      result_.look_again.push_back(path);
    }
    if (entry != nullptr && entry->base.has_value() && HasMetadata(entry->base->row, *metadata)) {
      builder_.AddRefresh({PutRow{path, row}});
    } else {
      builder_.Add(model::SetMetadata{path, FileKind::kDirectory, *std::move(metadata)}, {PutRow{path, row}});
    }
    return absl::OkStatus();
  }

  const CaptureContext& context_;
  const Plan& plan_;
  CaptureResult& result_;
  CommitBuilder builder_;
  CaptureMoment moment_;
  std::map<uint64_t, OpenedFile> opened_;  // frozen, not captured yet; by inode
  std::map<std::string, const PlannedEntry*> folders_;
  std::set<std::string> disturbed_;          // folders whose times publishing changes
  std::map<std::string, IndexRow> carried_;  // rows of names that others are linked to, by path
  uint64_t largest_sent_ = 0;
};

}  // namespace

absl::Status ShipPlan(const CaptureContext& context, const Plan& plan, CaptureResult& result) {
  return PlanShipper(context, plan, result).Run();
}

}  // namespace understudy::primary
