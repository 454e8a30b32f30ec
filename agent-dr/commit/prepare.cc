#include "agent-dr/commit/prepare.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "agent-dr/commit/file_clone.h"
#include "agent-dr/commit/free_space.h"
#include "agent-dr/commit/metadata_trial.h"
#include "agent-dr/commit/new_places.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/model/path.h"
#include "core/os/file_io.h"
#include "core/wire/status_path.h"

namespace understudy::dr {
namespace {

using model::FileKind;

absl::Status ContentMismatch(const std::string& path, std::string_view why) {
  return wire::WithPath(
      absl::DataLossError(fmt::format("the content sent for '{}' {}: send it again", Printable(path), why)), path);
}

class Preparer {
 public:
  // `undo` holds what is displaced; nullptr: nothing is kept.
  Preparer(const os::Root& replica, const WorkArea& work, const Staging& staging, const CommitPlan& plan,
           const UndoRecord* run, const os::Root* undo, FaultPoints& faults, model::Sequence sequence)
      : replica_(replica),
        work_(work),
        staging_(staging),
        plan_(plan),
        run_(run),
        undo_(undo),
        faults_(faults),
        sequence_(sequence),
        places_(work, sequence),
        trial_(replica, work.staging()) {}

  void set_index(size_t index) { index_ = index; }
  // What was staged ahead and no operation names would come into the replica with its folder.
  [[nodiscard]] absl::Status CheckAllUsed() const {
    const size_t unused = staging_.small().files() - used_files_ + staging_.small().folders() - used_folders_;
    if (unused == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(fmt::format("{} staged files and folders are in no operation", unused));
  }
  PreparedCommit Take() { return std::move(prepared_); }

  absl::Status operator()(model::Remove&) { return absl::OkStatus(); }
  absl::Status operator()(model::Detach&) { return absl::OkStatus(); }
  absl::Status operator()(model::Attach&) { return absl::OkStatus(); }
  absl::Status operator()(model::SetMetadata& op) { return Try(op.path, op.kind, op.metadata); }
  absl::Status operator()(model::Link&) { return absl::OkStatus(); }
  absl::Status operator()(model::Patch& op) {
    RETURN_IF_ERROR(IsKeptSlot(op.slot) ? PatchBack(op) : PatchStaged(op));
    RETURN_IF_ERROR(trial_.Try(op.path, FileKind::kRegular, op.metadata, &plan_.patched_paths.at(index_)));
    const bool known = op.digest != model::Digest{};
    prepared_.contents.push_back({plan_.patched.at(index_), op.size, known ? std::optional(op.digest) : std::nullopt});
    return undo_ == nullptr ? absl::OkStatus() : KeepContent(op);
  }

  absl::Status operator()(model::MakeDirectory& op) {
    RETURN_IF_ERROR(Try(op.path, FileKind::kDirectory, op.metadata));
    const std::string* const staged = staging_.small().FindFolder(op.path);
    if (staged != nullptr) ++used_folders_;
    if (plan_.existing_directories.contains(index_)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const NewPlaces::Place place, PlaceFor(op.path));
    // Its metadata comes with the fourth pass, after what is put into it.
    if (staged != nullptr) {
      RETURN_IF_ERROR(Bring(*staged, place));
      brought_folders_[*staged] = place.path;
    } else if (mkdirat(place.folder_fd, place.name.c_str(), 0700) != 0) {
      return Failed("make folder");
    }
    places_.AddFolder(op.path, place);
    return absl::OkStatus();
  }
  absl::Status operator()(model::Put& op) {
    return std::holds_alternative<std::string>(op.content) ? PutInline(op) : PutStaged(op);
  }
  absl::Status operator()(model::MakeSymlink& op) {
    ASSIGN_OR_RETURN(const NewPlaces::Place place, PlaceFor(op.path));
    if (symlinkat(op.target.c_str(), place.folder_fd, place.name.c_str()) != 0) return Failed("make symlink");
    return SetMetadata(place, op.path, FileKind::kSymlink, op.metadata);
  }
  absl::Status operator()(model::MakeNode& op) {
    ASSIGN_OR_RETURN(const NewPlaces::Place place, PlaceFor(op.path));
    const uint32_t mode = NodeTypeBits(op.kind) | 0600;
    if (mknodat(place.folder_fd, place.name.c_str(), mode, op.device) != 0) return Failed("make node");
    return SetMetadata(place, op.path, op.kind, op.metadata);
  }

 private:
  [[nodiscard]] int folder() const { return work_.staging().fd(); }
  [[nodiscard]] std::string Name() const { return WorkArea::StagedEntry(sequence_, index_); }
  static absl::Status Failed(std::string_view what) { return ErrnoStatus(errno, fmt::format("stage: {}", what)); }

  absl::StatusOr<NewPlaces::Place> PlaceFor(const std::string& path) { return places_.PlaceFor(path, index_); }

  // Names there are ours alone, so nothing can be led elsewhere by them.
  static absl::StatusOr<os::Fd> Open(const NewPlaces::Place& place, int flags) {
    os::Fd file(openat(place.folder_fd, place.name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.valid()) return Failed("open what is placed");
    return file;
  }

  static absl::Status SetMetadata(const NewPlaces::Place& place, const std::string& path, FileKind kind,
                                  const model::Metadata& metadata) {
    ASSIGN_OR_RETURN(const os::Fd entry, Open(place, O_PATH));
    return ApplyMetadataOf(path, entry.get(), kind, metadata);
  }

  // What is set only when it is published.
  absl::Status Try(const std::string& path, FileKind kind, const model::Metadata& metadata) {
    const auto present = plan_.metadata_of.find(index_);
    return trial_.Try(path, kind, metadata, present == plan_.metadata_of.end() ? nullptr : &present->second);
  }

  absl::Status PatchStaged(const model::Patch& op) {
    ASSIGN_OR_RETURN(const StagedContent* const content, Content(op.path, op.slot, op.size));
    if (!content->has_base) return absl::InvalidArgumentError(fmt::format("slot {} of a patch has no base", op.slot));
    if (content->base != plan_.patched.at(index_)) return ContentMismatch(op.path, "was made for another file");
    uint64_t bytes = 0;
    for (const ContentRange& range : content->ranges) bytes += range.hole ? 0 : range.length;
    RETURN_IF_ERROR(CheckFreeSpace(folder(), bytes, 0));  // publishing may need as much again
    prepared_.patches[index_] = {content->base, content->ranges};
    return NameContent(op.slot, {folder(), Name(), Name()});
  }

  // The ranges of an undo record lie where it was kept.
  absl::Status PatchBack(const model::Patch& op) {
    const auto kept = run_->kept_content.find(op.slot - kFirstKeptSlot);
    if (kept == run_->kept_content.end()) {
      return absl::DataLossError(fmt::format("nothing is kept of the old content of '{}'", Printable(op.path)));
    }
    prepared_.patches[index_] = {plan_.patched.at(index_), kept->second};
    return absl::OkStatus();
  }

  absl::Status KeepContent(const model::Patch& op) {
    RETURN_IF_ERROR(faults_.Reach(Step::kKeep, index_));
    ASSIGN_OR_RETURN(const os::Fd file, replica_.OpenPath(plan_.patched_paths.at(index_), O_RDONLY | O_NONBLOCK));
    ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(file.get(), ""));
    ASSIGN_OR_RETURN(const os::Fd kept, undo_->OpenPath(fmt::format("{}", index_), O_RDWR | O_CREAT | O_EXCL, 0600));
    const std::vector<ContentRange> ranges = RangesToKeep(prepared_.patches.at(index_).ranges, stat.size, op.size);
    ASSIGN_OR_RETURN(prepared_.kept_content[index_], SaveRanges(file.get(), kept.get(), ranges));
    return absl::OkStatus();
  }

  absl::Status PutInline(model::Put& op) {
    std::string& content = std::get<std::string>(op.content);
    if (delta::DigestOfContent(content) != op.digest) return ContentMismatch(op.path, "doesn't match its digest");
    ASSIGN_OR_RETURN(const NewPlaces::Place place, PlaceFor(op.path));
    ASSIGN_OR_RETURN(const os::Fd file, Open(place, O_WRONLY | O_CREAT | O_EXCL));
    RETURN_IF_ERROR(os::WriteAt(file.get(), 0, content));
    content = std::string();
    RETURN_IF_ERROR(NoteContent(file.get(), op));
    return ApplyMetadataOf(op.path, file.get(), FileKind::kRegular, op.metadata);
  }

  absl::StatusOr<const StagedContent*> Content(const std::string& path, model::Slot slot, uint64_t size) {
    const StagedContent* const content = staging_.Find(slot);
    if (content == nullptr) return absl::InvalidArgumentError(fmt::format("slot {} wasn't staged to its end", slot));
    if (content->size != size) return ContentMismatch(path, "has another size than announced");
    return content;
  }

  absl::Status NameContent(model::Slot slot, const NewPlaces::Place& place) {
    const std::string staged = WorkArea::StagedContent(slot);
    return renameat(folder(), staged.c_str(), place.folder_fd, place.name.c_str()) == 0 ? absl::OkStatus()
                                                                                        : Failed("name content");
  }

  // What was staged at `staged` comes to where it is placed from, unless its folder brought it there.
  absl::Status Bring(const std::string& staged, const NewPlaces::Place& place) {
    std::string from = staged;
    for (std::string_view folder = model::Parent(staged); !folder.empty(); folder = model::Parent(folder)) {
      const auto brought = brought_folders_.find(folder);
      if (brought == brought_folders_.end()) continue;
      from = brought->second + staged.substr(folder.size());
      break;
    }
    if (from == place.path) return absl::OkStatus();
    ASSIGN_OR_RETURN(const os::ParentAndName at, work_.staging().OpenParent(from));
    const int moved = renameat(at.folder.get(), at.name.c_str(), place.folder_fd, place.name.c_str());
    return moved == 0 ? absl::OkStatus() : Failed("bring what was staged");
  }

  absl::Status PutSmall(const model::Put& op, const SmallFile& small) {
    if (small.path != op.path) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' was staged for '{}'", Printable(op.path), Printable(small.path)));
    }
    ++used_files_;
    if (small.size != op.size) return ContentMismatch(op.path, "has another size than announced");
    if (small.digest != op.digest) return ContentMismatch(op.path, "doesn't match its digest");
    ASSIGN_OR_RETURN(const NewPlaces::Place place, PlaceFor(op.path));
    RETURN_IF_ERROR(Bring(small.place, place));
    ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(place.folder_fd, place.name));
    prepared_.contents.push_back({IdentityOf(stat), op.size, op.digest});
    const bool no_xattrs = !small.has_xattrs && op.metadata.xattrs.empty();
    if (no_xattrs && os::MetadataOf(stat) == op.metadata) return absl::OkStatus();
    return SetMetadata(place, op.path, FileKind::kRegular, op.metadata);
  }

  absl::Status PutStaged(const model::Put& op) {
    const model::Slot slot = std::get<model::Slot>(op.content);
    if (const SmallFile* const small = staging_.small().Find(slot)) return PutSmall(op, *small);
    ASSIGN_OR_RETURN(const StagedContent* const content, Content(op.path, slot, op.size));
    ASSIGN_OR_RETURN(const NewPlaces::Place place, PlaceFor(op.path));
    RETURN_IF_ERROR(content->has_base ? Materialise(op.path, slot, *content, place) : NameContent(slot, place));
    ASSIGN_OR_RETURN(const os::Fd file, Open(place, O_RDONLY));
    // With a base, each delta's range was checked as it came; the rest is the base's, which isn't read again.
    if (!content->has_base) {
      ASSIGN_OR_RETURN(const model::Digest digest, os::DigestOfFile(file.get(), op.size));
      if (digest != op.digest) return ContentMismatch(op.path, "doesn't match its digest");
    }
    RETURN_IF_ERROR(NoteContent(file.get(), op));
    return ApplyMetadataOf(op.path, file.get(), FileKind::kRegular, op.metadata);
  }

  absl::Status NoteContent(int fd, const model::Put& op) {
    ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(fd, ""));
    prepared_.contents.push_back({IdentityOf(stat), op.size, op.digest});
    return absl::OkStatus();
  }

  // The base with what differs, as a file of its own.
  absl::Status Materialise(const std::string& path, model::Slot slot, const StagedContent& content,
                           const NewPlaces::Place& place) {
    ASSIGN_OR_RETURN(const os::Fd base, replica_.OpenPath(content.base_path, O_RDONLY | O_NONBLOCK));
    ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(base.get(), ""));
    if (IdentityOf(stat) != content.base) return ContentMismatch(path, "was made for another file");
    const std::string staged = WorkArea::StagedContent(slot);
    ASSIGN_OR_RETURN(const os::Fd source, work_.staging().OpenPath(staged, O_RDONLY));
    ASSIGN_OR_RETURN(const os::Fd file, Open(place, O_RDWR | O_CREAT | O_EXCL));
    RETURN_IF_ERROR(CloneContent(base.get(), file.get(), stat.size, content.size));
    for (const ContentRange& range : content.ranges) {
      RETURN_IF_ERROR(ApplyRange(source.get(), file.get(), range));
    }
    return unlinkat(folder(), staged.c_str(), 0) == 0 ? absl::OkStatus() : Failed("take away content");
  }

  const os::Root& replica_;
  const WorkArea& work_;
  const Staging& staging_;
  const CommitPlan& plan_;
  const UndoRecord* const run_;
  const os::Root* const undo_;
  FaultPoints& faults_;
  const model::Sequence sequence_;
  NewPlaces places_;
  // Where folders that were staged ahead are placed from, by where they were staged; below the staging folder.
  std::map<std::string, std::string, std::less<>> brought_folders_;
  MetadataTrial trial_;
  PreparedCommit prepared_;
  size_t index_ = 0;
  size_t used_files_ = 0;  // of those that were staged ahead, like the folders
  size_t used_folders_ = 0;
};

// A new name of a file may come to where an old one went away. As long as the mark is there, none has come.
absl::Status MarkVacating(const WorkArea& work, const CommitPlan& plan, const model::Commit& commit) {
  const bool needed =
      std::any_of(plan.sources.begin(), plan.sources.end(), [](const auto& at) { return at.second.several_names; });
  if (!needed || !GivesNames(commit)) return absl::OkStatus();
  return work.staging().OpenPath(WorkArea::VacatingMark(commit.sequence), O_WRONLY | O_CREAT, 0600).status();
}

}  // namespace

uint32_t NodeTypeBits(FileKind kind) {
  switch (kind) {
    case FileKind::kFifo:
      return S_IFIFO;
    case FileKind::kSocket:
      return S_IFSOCK;
    case FileKind::kCharacterDevice:
      return S_IFCHR;
    case FileKind::kBlockDevice:
      return S_IFBLK;
    default:
      AbortOnBrokenInvariant("a kind of node", __FILE__, __LINE__);
  }
}

bool PlacesStagedEntry(const model::Operation& operation) {
  return std::holds_alternative<model::Put>(operation) || std::holds_alternative<model::MakeDirectory>(operation) ||
         std::holds_alternative<model::MakeSymlink>(operation) || std::holds_alternative<model::MakeNode>(operation);
}

bool GivesNames(const model::Commit& commit) {
  return std::any_of(commit.operations.begin(), commit.operations.end(), [](const model::Operation& operation) {
    return std::holds_alternative<model::Attach>(operation) || std::holds_alternative<model::Link>(operation);
  });
}

absl::StatusOr<PreparedCommit> PrepareCommit(const os::Root& replica, const WorkArea& work, const Staging& staging,
                                             const CommitPlan& plan, const UndoRecord* run, bool keep,
                                             FaultPoints& faults, model::Commit& commit) {
  std::optional<os::Root> undo;
  if (keep && plan.Displaces(commit)) {
    RETURN_IF_ERROR(faults.Reach(Step::kKeep, 0));
    ASSIGN_OR_RETURN(undo, work.MakeUndoFolder(commit.sequence));
  }
  Preparer preparer(replica, work, staging, plan, run, undo.has_value() ? &*undo : nullptr, faults, commit.sequence);
  for (size_t index = 0; index < commit.operations.size(); ++index) {
    RETURN_IF_ERROR(faults.Reach(Step::kStage, index));
    preparer.set_index(index);
    RETURN_IF_ERROR(std::visit(preparer, commit.operations[index]));
  }
  RETURN_IF_ERROR(preparer.CheckAllUsed());
  RETURN_IF_ERROR(MarkVacating(work, plan, commit));
  return preparer.Take();
}

}  // namespace understudy::dr
