#include "agent-dr/verify/replica_verifier.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "agent-dr/commit/admission.h"
#include "agent-dr/commit/inventory.h"
#include "agent-dr/verify/content_check.h"
#include "agent-dr/verify/replica_tree.h"
#include "core/os/describe_entry.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {
namespace {

constexpr size_t kLearnedBatch = 256;

class Verifier {
 public:
  Verifier(DamageKeeper& damage, const model::VolumeName& volume, Replica& replica, const VerifyListener& listener)
      : damage_(damage), volume_(volume), replica_(replica), listener_(listener) {}

  absl::StatusOr<model::VerifyCounts> Run(model::VerifyDepth depth) {
    ASSIGN_OR_RETURN(const bool there, CheckExists());
    if (there && depth == model::VerifyDepth::kKept) RETURN_IF_ERROR(CheckContents());
    RETURN_IF_ERROR(listener_.on_progress(counts_));
    return counts_;
  }

 private:
  void Add(std::string path, model::DifferenceKind kind, std::string detail) {
    ++counts_.differences;
    listener_.on_difference({std::move(path), kind, std::move(detail)});
  }

  // Whether there is a folder to go on with.
  absl::StatusOr<bool> CheckExists() {
    ++counts_.entries;
    absl::Status place = replica_.WithPublished([](const Replica::Published&) { return absl::OkStatus(); });
    if (place.ok()) place = replica_.CheckPlace();
    if (!place.ok()) {
      Add("", model::DifferenceKind::kFolder, std::string(MessageOf(place)));
      return false;
    }
    const model::ReplicaState state = replica_.State();
    if (!state.complete && !state.demoted_whole) {
      Add("", model::DifferenceKind::kIncomplete, "no whole capture of the volume has been committed yet");
    }
    RETURN_IF_ERROR(replica_.WithPublished([&](const Replica::Published& published) -> absl::Status {
      ContentTable contents = published.contents;
      ASSIGN_OR_RETURN(const std::optional<bool> holds, contents.HoldsEntries());
      if (!holds.value_or(false)) return absl::OkStatus();
      ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(published.root, "", published.excluded_name));
      ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> first, walk.Next());
      if (!first.has_value()) {
        Add("", model::DifferenceKind::kEmpty, "the folder is empty, and the newest commit left entries in it");
      }
      return absl::OkStatus();
    }));
    return true;
  }

  absl::Status CheckContents() {
    ASSIGN_OR_RETURN(const ReplicaTree tree, OpenTree(replica_));
    ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(tree.root, "", tree.excluded_name));
    while (true) {
      const absl::StatusOr<std::optional<os::WalkEntry>> next = walk.Next();
      if (absl::IsDataLoss(next.status())) {
        Add(walk.failed_path(), model::DifferenceKind::kUnreadable, std::string(MessageOf(next.status())));
        continue;
      }
      RETURN_IF_ERROR(next.status());
      const std::optional<os::WalkEntry>& entry = *next;
      if (!entry.has_value()) return WriteLearned();
      ++counts_.entries;
      if (entry->stat.kind != model::FileKind::kRegular) continue;
      const bool several_names = entry->stat.link_count > 1;
      const std::pair identity(entry->stat.inode, entry->stat.btime_nanoseconds);
      if (several_names && linked_.contains(identity)) continue;
      ASSIGN_OR_RETURN(const bool right, CheckFile(entry->path));
      if (several_names && right && linked_.size() < kMaxTrackedLinks) linked_.insert(identity);
      RETURN_IF_ERROR(listener_.on_progress(counts_));
    }
  }

  absl::StatusOr<bool> CheckFile(const std::string& path) {
    ASSIGN_OR_RETURN(const ContentCheck check, CheckContent(replica_, path, [this](uint64_t bytes) {
                       counts_.bytes_read += bytes;
                       return listener_.on_progress(counts_);
                     }));
    if (check.verdict != Verdict::kGone) ++counts_.files_read;
    switch (check.verdict) {
      case Verdict::kSame:
        damage_.Passed(volume_, replica_, path);
        return true;
      case Verdict::kUnknown:
        ++counts_.learned;
        learned_.push_back({.identity = IdentityOf(check.stat),
                            .size = check.found.size,
                            .digest = check.found.digest,
                            .sequence = check.sequence});
        if (learned_.size() >= kLearnedBatch) RETURN_IF_ERROR(WriteLearned());
        return true;
      case Verdict::kDamaged:
      case Verdict::kUnreadable:
        damage_.Note(volume_, replica_, path, check);
        Add(path,
            check.verdict == Verdict::kDamaged ? model::DifferenceKind::kContent : model::DifferenceKind::kUnreadable,
            check.why);
        return false;
      case Verdict::kChanging:
        ++counts_.unchecked;
        return false;
      case Verdict::kGone:
        return false;
    }
    AbortOnBrokenInvariant("known Verdict", __FILE__, __LINE__);
  }

  absl::Status WriteLearned() {
    const std::vector<KeptContent> learned = std::exchange(learned_, {});
    if (learned.empty()) return absl::OkStatus();
    return replica_.WithPublished([&](const Replica::Published& published) {
      ContentTable contents = published.contents;
      const bool standby = published.state.state == model::VolumeState::kStandby;
      return standby ? contents.Learn(learned) : absl::OkStatus();
    });
  }

  DamageKeeper& damage_;
  const model::VolumeName& volume_;
  Replica& replica_;
  const VerifyListener& listener_;
  model::VerifyCounts counts_;
  std::vector<KeptContent> learned_;
  absl::flat_hash_set<std::pair<uint64_t, int64_t>> linked_;
};

class Lister {
 public:
  Lister(Replica& replica, bool with_digests, const std::function<absl::Status(model::ListedEntry)>& visit,
         const std::function<absl::Status()>& on_progress)
      : replica_(replica), with_digests_(with_digests), visit_(visit), on_progress_(on_progress) {}

  absl::Status ListTree() {
    RETURN_IF_ERROR(ListPath(""));
    ASSIGN_OR_RETURN(const ReplicaTree tree, OpenTree(replica_));
    ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(tree.root, "", tree.excluded_name));
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> found, walk.Next());
      if (!found.has_value()) return absl::OkStatus();
      absl::StatusOr<model::InventoryEntry> entry = os::DescribeEntry(found->folder_fd, found->name, found->stat);
      if (absl::IsNotFound(entry.status())) continue;  // gone since
      RETURN_IF_ERROR(entry.status());
      entry->path = found->path;
      RETURN_IF_ERROR(Give(*std::move(entry), found->stat));
    }
  }

  absl::Status ListPath(const std::string& path) {
    std::optional<model::InventoryEntry> entry;
    os::EntryStat stat;
    const absl::Status looked = replica_.WithPublished([&](const Replica::Published& published) -> absl::Status {
      RETURN_IF_ERROR(CheckNoWorkFolder(path, !published.excluded_name.empty()));
      std::string name;
      std::optional<os::Fd> folder;
      if (!path.empty()) {
        absl::StatusOr<os::ParentAndName> place = published.root.OpenParent(path);
        if (absl::IsNotFound(place.status())) return absl::OkStatus();
        RETURN_IF_ERROR(place.status());
        folder = std::move(place->folder);
        name = place->name;
      }
      const int folder_fd = folder.has_value() ? folder->get() : published.root.fd();
      const absl::StatusOr<os::EntryStat> found = os::StatAt(folder_fd, name);
      if (absl::IsNotFound(found.status())) return absl::OkStatus();
      RETURN_IF_ERROR(found.status());
      stat = *found;
      ASSIGN_OR_RETURN(entry, os::DescribeEntry(folder_fd, name, stat));
      entry->path = path;
      return absl::OkStatus();
    });
    RETURN_IF_ERROR(looked);
    return entry.has_value() ? Give(*std::move(entry), stat) : absl::OkStatus();
  }

 private:
  absl::Status Give(model::InventoryEntry entry, const os::EntryStat& stat) {
    model::ListedEntry listed;
    const bool folder = stat.kind == model::FileKind::kDirectory;
    entry.link_id = !folder && stat.link_count > 1 ? stat.inode : 0;
    listed.entry = std::move(entry);
    if (with_digests_ && stat.kind == model::FileKind::kRegular) {
      ASSIGN_OR_RETURN(const ContentCheck check,
                       CheckContent(replica_, listed.entry.path, [this](uint64_t) { return on_progress_(); }));
      if (check.verdict == Verdict::kGone) return absl::OkStatus();
      listed.changing = check.verdict == Verdict::kChanging;
      listed.damaged = check.verdict == Verdict::kDamaged;
      listed.unreadable = check.verdict == Verdict::kUnreadable;
      if (!listed.changing && !listed.unreadable) listed.entry.digest = check.found.digest;
    }
    return visit_(std::move(listed));
  }

  Replica& replica_;
  const bool with_digests_;
  const std::function<absl::Status(model::ListedEntry)>& visit_;
  const std::function<absl::Status()>& on_progress_;
};

}  // namespace

absl::StatusOr<model::VerifyCounts> VerifyReplica(CommitEngine& engine, DamageKeeper& damage,
                                                  const model::VolumeName& volume, model::VerifyDepth depth,
                                                  const VerifyListener& listener) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, engine.FindReplica(volume));
  return Verifier(damage, volume, *replica, listener).Run(depth);
}

absl::Status ListEntries(CommitEngine& engine, const ListRequest& request,
                         const std::function<absl::Status(model::ListedEntry)>& visit,
                         const std::function<absl::Status()>& on_progress) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, engine.FindReplica(request.volume));
  Lister lister(*replica, request.with_digests, visit, on_progress);
  if (request.paths.empty()) return lister.ListTree();
  for (const std::string& path : request.paths) RETURN_IF_ERROR(lister.ListPath(path));
  return absl::OkStatus();
}

}  // namespace understudy::dr
