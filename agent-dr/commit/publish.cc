#include "agent-dr/commit/publish.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agent-dr/commit/file_clone.h"
#include "agent-dr/commit/metadata_trial.h"
#include "agent-dr/commit/prepare.h"
#include "core/base/log.h"
#include "core/model/path.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {
namespace {

using model::FileKind;

class Publisher {
 public:
  Publisher(const os::Root& replica, const WorkArea& work, const CommitRecord& record, FaultPoints& faults)
      : replica_(replica), work_(work), record_(record), faults_(faults) {}

  absl::Status Run() {
    RETURN_IF_ERROR(OpenUndoFolders());
    const std::vector<model::Operation>& operations = record_.commit.operations;
    const std::string mark = WorkArea::VacatingMark(record_.commit.sequence);
    const absl::StatusOr<os::EntryStat> marked = os::StatAt(work_.staging().fd(), mark);
    if (!marked.ok() && !absl::IsNotFound(marked.status())) return marked.status();
    vacating_ = marked.ok() || !GivesNames(record_.commit);
    for (size_t index = 0; index < operations.size(); ++index) RETURN_IF_ERROR(Vacate(operations[index], index));
    if (marked.ok()) {
      RETURN_IF_ERROR(NextEffect());
      if (unlinkat(work_.staging().fd(), mark.c_str(), 0) != 0) return Failed("end pass 1 of", mark);
    }
    parent_.reset();
    ASSIGN_OR_RETURN(staged_, os::NamesIn(work_.staging().fd()));
    for (size_t index = 0; index < operations.size(); ++index) RETURN_IF_ERROR(Place(operations[index], index));
    parent_.reset();
    for (size_t index = 0; index < operations.size(); ++index) {
      if (const auto* link = std::get_if<model::Link>(&operations[index])) RETURN_IF_ERROR(MakeLink(*link, index));
      if (const auto* patch = std::get_if<model::Patch>(&operations[index])) RETURN_IF_ERROR(PatchFile(*patch, index));
    }
    return SetAllMetadata();
  }

 private:
  struct Parent {
    std::string path;
    os::Fd folder;
  };
  struct MetadataOfPath {
    FileKind kind;
    const model::Metadata* metadata;
  };

  absl::Status OpenUndoFolders() {
    if (record_.keeps) {
      absl::StatusOr<os::Root> folder = work_.OpenUndoFolder(record_.commit.sequence);
      if (absl::IsNotFound(folder.status())) folder = work_.MakeUndoFolder(record_.commit.sequence);
      RETURN_IF_ERROR(folder.status());
      keeping_ = *std::move(folder);
    }
    if (record_.runs == 0) return absl::OkStatus();
    // Of a record that keeps nothing there is none.
    absl::StatusOr<os::Root> kept = work_.OpenUndoFolder(record_.runs);
    if (absl::IsNotFound(kept.status())) return absl::OkStatus();
    RETURN_IF_ERROR(kept.status());
    kept_ = *std::move(kept);
    return absl::OkStatus();
  }

  absl::Status NextEffect() { return faults_.Reach(Step::kPublish, effects_++); }

  static absl::Status Failed(std::string_view what, std::string_view path) {
    return ErrnoStatus(errno, fmt::format("{} '{}'", what, Printable(path)));
  }

  // The folder that holds `path`. Operations of one pass come folder by folder, so the last one is kept.
  absl::StatusOr<int> ParentOf(std::string_view path) {
    const std::string_view parent = model::Parent(path);
    if (!parent_.has_value() || parent_->path != parent) {
      parent_.reset();
      ASSIGN_OR_RETURN(os::Fd folder, replica_.OpenPath(parent, O_RDONLY | O_DIRECTORY));
      parent_ = Parent{std::string(parent), std::move(folder)};
    }
    return parent_->folder.get();
  }

  // Pass 1: what Remove and Detach were meant for, if it is still there.
  absl::Status Vacate(const model::Operation& operation, size_t index) {
    const auto* remove = std::get_if<model::Remove>(&operation);
    const auto* detach = std::get_if<model::Detach>(&operation);
    if (remove == nullptr && detach == nullptr) return absl::OkStatus();
    const std::string& path = remove != nullptr ? remove->path : detach->path;
    const absl::StatusOr<int> parent = ParentOf(path);
    if (absl::IsNotFound(parent.status())) return absl::OkStatus();  // an earlier try removed the folder as well
    RETURN_IF_ERROR(parent.status());
    const std::string name(model::LeafName(path));
    const absl::StatusOr<os::EntryStat> stat = os::StatAt(*parent, name);
    if (absl::IsNotFound(stat.status())) return absl::OkStatus();
    RETURN_IF_ERROR(stat.status());
    const VacatedEntry& meant = record_.sources.at(index);
    if (IdentityOf(*stat) != meant.identity) return absl::OkStatus();
    if (meant.several_names && !vacating_) return absl::OkStatus();  // a name that came here since
    RETURN_IF_ERROR(NextEffect());
    if (remove != nullptr) return RemoveEntry(*parent, name, *remove, index);
    const std::string entry = WorkArea::DetachedEntry(detach->slot);
    return renameat(*parent, name.c_str(), work_.detached().fd(), entry.c_str()) == 0 ? absl::OkStatus()
                                                                                      : Failed("detach", path);
  }

  // A folder goes away whole, in one step; what isn't kept of it is taken apart outside the replica.
  absl::Status RemoveEntry(int parent, const std::string& name, const model::Remove& remove, size_t index) {
    int result = 0;
    if (keeping_.has_value()) {
      result = renameat(parent, name.c_str(), keeping_->fd(), KeptName(index).c_str());
    } else if (remove.kind == FileKind::kDirectory) {
      const std::string entry = WorkArea::RemovedEntry(record_.commit.sequence, index);
      result = renameat(parent, name.c_str(), work_.removed().fd(), entry.c_str());
    } else {
      result = unlinkat(parent, name.c_str(), 0);
    }
    return result == 0 ? absl::OkStatus() : Failed("remove", remove.path);
  }

  // Pass 2: what is detached or staged, if it is still there. New folders bring along what is staged in them.
  absl::Status Place(const model::Operation& operation, size_t index) {
    const auto* attach = std::get_if<model::Attach>(&operation);
    if (attach == nullptr && !PlacesStagedEntry(operation)) return absl::OkStatus();
    std::string entry = WorkArea::StagedEntry(record_.commit.sequence, index);
    int from = work_.staging().fd();
    if (attach != nullptr && IsKeptSlot(attach->slot)) {
      if (!kept_.has_value()) return absl::DataLossError("what an undo record kept is gone");
      entry = KeptName(attach->slot - kFirstKeptSlot);
      from = kept_->fd();
    } else if (attach != nullptr) {
      entry = WorkArea::DetachedEntry(attach->slot);
      from = work_.detached().fd();
    } else if (!std::binary_search(staged_.begin(), staged_.end(), entry)) {
      return absl::OkStatus();  // published by an earlier try, or in a new folder that is or was placed as a whole
    }
    const absl::StatusOr<os::EntryStat> stat = os::StatAt(from, entry);
    if (absl::IsNotFound(stat.status())) return absl::OkStatus();
    RETURN_IF_ERROR(stat.status());
    const std::string& path = std::visit([](const auto& op) -> const std::string& { return op.path; }, operation);
    ASSIGN_OR_RETURN(const int parent, ParentOf(path));
    RETURN_IF_ERROR(KeepReplaced(parent, path, index));
    RETURN_IF_ERROR(NextEffect());
    return RenameOver(from, entry, parent, path);
  }

  static std::string KeptName(size_t index) { return fmt::format("{}", index); }

  // What has the name until the next rename gets one in the undo folder, too; a folder never stands there. A file with
  // as many names as the filesystem allows gives this one up before.
  absl::Status KeepReplaced(int parent, std::string_view path, size_t index) {
    if (!keeping_.has_value()) return absl::OkStatus();
    RETURN_IF_ERROR(NextEffect());
    const std::string name(model::LeafName(path));
    const std::string kept = KeptName(index);
    if (linkat(parent, name.c_str(), keeping_->fd(), kept.c_str(), 0) == 0) return absl::OkStatus();
    if (errno == EEXIST || errno == ENOENT) return absl::OkStatus();  // by an earlier try; there is none
    if (errno != EMLINK) return Failed("keep", path);
    return renameat(parent, name.c_str(), keeping_->fd(), kept.c_str()) == 0 ? absl::OkStatus() : Failed("keep", path);
  }

  // rename() between two names of one file does nothing and leaves both.
  static absl::Status RenameOver(int from, const std::string& entry, int parent, std::string_view path) {
    const std::string name(model::LeafName(path));
    if (renameat(from, entry.c_str(), parent, name.c_str()) != 0) return Failed("place", path);
    return unlinkat(from, entry.c_str(), 0) == 0 || errno == ENOENT ? absl::OkStatus() : Failed("place", path);
  }

  // Pass 3: another name of the target, made beside and renamed over what has the name now.
  absl::Status MakeLink(const model::Link& link, size_t index) {
    ASSIGN_OR_RETURN(const os::ParentAndName target, replica_.OpenParent(link.target));
    ASSIGN_OR_RETURN(const os::EntryStat meant, os::StatAt(target.folder.get(), target.name));
    ASSIGN_OR_RETURN(const int parent, ParentOf(link.path));
    const absl::StatusOr<os::EntryStat> present = os::StatAt(parent, std::string(model::LeafName(link.path)));
    if (present.ok() && IdentityOf(*present) == IdentityOf(meant)) return absl::OkStatus();
    if (!present.ok() && !absl::IsNotFound(present.status())) return present.status();
    RETURN_IF_ERROR(NextEffect());
    const std::string entry = WorkArea::StagedEntry(record_.commit.sequence, index);
    const int staging = work_.staging().fd();
    if (unlinkat(staging, entry.c_str(), 0) != 0 && errno != ENOENT) return Failed("link", link.path);
    if (linkat(target.folder.get(), target.name.c_str(), staging, entry.c_str(), 0) != 0) {
      if (errno != EMLINK) return Failed("link", link.path);
      return absl::FailedPreconditionError(
          fmt::format("link '{}': '{}' has as many names as this filesystem allows ({}): give the replica a filesystem "
                      "that allows as many as the primary's",
                      Printable(link.path), Printable(link.target), meant.link_count));
    }
    RETURN_IF_ERROR(KeepReplaced(parent, link.path, index));
    RETURN_IF_ERROR(NextEffect());
    return RenameOver(staging, entry, parent, link.path);
  }

  absl::StatusOr<os::Fd> OpenPatchContent(const model::Patch& patch, size_t index) const {
    if (!IsKeptSlot(patch.slot)) {
      return work_.staging().OpenPath(WorkArea::StagedEntry(record_.commit.sequence, index), O_RDONLY);
    }
    if (!kept_.has_value()) return absl::DataLossError("what an undo record kept is gone");
    return kept_->OpenPath(KeptName(patch.slot - kFirstKeptSlot), O_RDONLY);
  }

  // The staged content stays for a replay: unlike a rename, what is written here isn't durable before it is synced.
  absl::Status PatchFile(const model::Patch& patch, size_t index) {
    const PatchedFile& meant = record_.patches.at(index);
    const auto annotate = [&](const absl::Status& status) {
      return Annotate(status, fmt::format("patch '{}'", Printable(patch.path)));
    };
    ASSIGN_OR_RETURN(const os::Fd file, replica_.OpenPath(patch.path, O_RDWR | O_NONBLOCK));
    ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(file.get(), ""));
    if (IdentityOf(stat) != meant.identity) {
      return annotate(absl::DataLossError("another file has come there, past understudy-dr: compare the volume anew"));
    }
    const auto staged = OpenPatchContent(patch, index);
    if (!staged.ok()) return annotate(staged.status());
    for (const ContentRange& range : meant.ranges) {
      RETURN_IF_ERROR(NextEffect());
      const absl::Status applied = ApplyRange(staged->get(), file.get(), range);
      if (!applied.ok()) return annotate(applied);
    }
    RETURN_IF_ERROR(NextEffect());
    RETURN_IF_ERROR(SetSize(file.get(), patch.size));
    RETURN_IF_ERROR(NextEffect());
    return ApplyMetadataOf(patch.path, file.get(), FileKind::kRegular, patch.metadata);
  }

  // Pass 4: what is in a folder before the folder, whose times it would change. New folders get theirs here, too.
  absl::Status SetAllMetadata() {
    std::map<std::string, MetadataOfPath, std::greater<>> wanted;  // by key
    for (const model::Operation& operation : record_.commit.operations) {
      if (const auto* made = std::get_if<model::MakeDirectory>(&operation)) {
        wanted[model::Key(made->path)] = {FileKind::kDirectory, &made->metadata};
      } else if (const auto* set = std::get_if<model::SetMetadata>(&operation)) {
        wanted[model::Key(set->path)] = {set->kind, &set->metadata};
      }
    }
    for (const auto& [key, of_path] : wanted) {
      const std::string path = model::PathOfKey(key);
      RETURN_IF_ERROR(NextEffect());
      const int flags = of_path.kind == FileKind::kDirectory ? O_PATH | O_DIRECTORY : O_PATH;
      ASSIGN_OR_RETURN(const os::Fd entry, replica_.OpenPath(path, flags));
      RETURN_IF_ERROR(ApplyMetadataOf(path, entry.get(), of_path.kind, *of_path.metadata));
    }
    return absl::OkStatus();
  }

  const os::Root& replica_;
  const WorkArea& work_;
  const CommitRecord& record_;
  FaultPoints& faults_;
  std::optional<Parent> parent_;
  std::vector<std::string> staged_;  // names in the staging folder as pass 2 begins, ascending
  std::optional<os::Root> keeping_;  // where what is displaced goes; nullopt: nowhere
  std::optional<os::Root> kept_;     // what kept slots name
  bool vacating_ = false;            // no new name has come, as pass 1 isn't over or none comes at all
  size_t effects_ = 0;
};

}  // namespace

absl::Status PublishCommit(const os::Root& replica, const WorkArea& work, const CommitRecord& record,
                           FaultPoints& faults) {
  return Publisher(replica, work, record, faults).Run();
}

}  // namespace understudy::dr
