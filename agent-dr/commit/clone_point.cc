// What replica.h declares of kept states as trees of their own.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <utility>

#include "agent-dr/commit/clone_tree.h"
#include "agent-dr/commit/free_space.h"
#include "agent-dr/commit/preflight.h"
#include "agent-dr/commit/prepare.h"
#include "agent-dr/commit/publish.h"
#include "agent-dr/commit/replica.h"

namespace understudy::dr {
namespace {

constexpr char kTree[] = "tree";
constexpr char kUndo[] = "undo";
constexpr char kRecords[] = "records";

absl::Status Unwanted() {
  return absl::CancelledError("whoever asked for it has gone");
}

// Takes the clone one step back, as the replica would be.
absl::Status RunOnClone(const UndoRecord& undo, size_t number, ReplicaFolders& clone) {
  model::Commit commit;
  commit.sequence = number;
  commit.operations = undo.operations;
  RETURN_IF_ERROR(model::ValidateOrder(commit));
  std::optional<os::Root> kept;
  absl::StatusOr<os::Root> folder = clone.work.OpenUndoFolder(undo.about.sequence);
  if (!folder.ok() && !absl::IsNotFound(folder.status())) return folder.status();
  if (folder.ok()) kept = *std::move(folder);
  ASSIGN_OR_RETURN(CommitPlan plan,
                   PlanCommit(clone.root, kept.has_value() ? &*kept : nullptr, commit, /*keeps=*/false));
  ASSIGN_OR_RETURN(PreparedCommit prepared, PrepareCommit(clone.root, clone.work, clone.staging, plan, &undo,
                                                          /*keep=*/false, FaultPoints::None(), commit));
  CommitRecord record;
  record.commit = std::move(commit);
  record.sources = std::move(plan.sources);
  record.patches = std::move(prepared.patches);
  record.runs = undo.about.sequence;
  return PublishCommit(clone.root, clone.work, record, FaultPoints::None());
}

}  // namespace

// Copies that fill the filesystem would cost every volume there its recovery points.
absl::StatusOr<uint64_t> Replica::CheckRoomForCopies(const std::vector<model::Sequence>& path, const os::GoOn& go_on) {
  ASSIGN_OR_RETURN(uint64_t bytes, BytesOnDisk(folders_->root, go_on));
  for (const model::Sequence sequence : path) {
    ASSIGN_OR_RETURN(const uint64_t kept, folders_->work.MeasureUndoFolder(sequence, go_on));
    bytes += kept;
  }
  struct statvfs filesystem {};
  if (fstatvfs(folders_->root.fd(), &filesystem) != 0) return ErrnoStatus(errno, "look at the filesystem");
  const uint64_t tenth = static_cast<uint64_t>(filesystem.f_blocks) * filesystem.f_frsize / 10;
  RETURN_IF_ERROR(CheckFreeSpace(folders_->root.fd(), bytes + tenth, 0));
  return bytes;
}

absl::Status Replica::CheckNoCopy() const {
  if (!copying_) return absl::OkStatus();
  return absl::UnavailableError(fmt::format(
      "a tree is being copied of a recovery point of volume '{0}' at DR, whose filesystem has no shared blocks: "
      "nothing is replicated to it until that is done (drctl points list {0})",
      State().volume));
}

absl::StatusOr<UndoSpool> Replica::CloneWithUndo(model::Sequence to, const os::Root& folder,
                                                 const CloneWatcher& watcher) {
  absl::MutexLock lock(&work_mutex_);
  if (retired_) return absl::UnavailableError("it went to the trash just now");
  if (must_recover_ || folders_ == nullptr) {
    const absl::Status recovered = view_.SetUsable(Recover());
    if (!recovered.ok()) return recovered;
  }
  RETURN_IF_ERROR(CheckStandby());
  RETURN_IF_ERROR(PublishLocked());
  ASSIGN_OR_RETURN(const std::vector<model::Sequence> path, PathTo(view_.Undo(), NewestPoint().sequence, to));
  RETURN_IF_ERROR(CheckKept(path));
  const os::GoOn go_on = [&] { return watcher.cancelled() ? Unwanted() : MakeWay(); };
  ASSIGN_OR_RETURN(TreeCloner cloner, TreeCloner::Begin(folder, go_on));
  struct Copying {
    std::atomic<bool>& copying;
    ~Copying() { copying = false; }
  } const until_the_end{copying_};
  if (!cloner.shares()) {
    ASSIGN_OR_RETURN(const uint64_t bytes, CheckRoomForCopies(path, go_on));
    copying_ = bytes > settings_.points.copied_while_commits_wait;
  }
  // Its messages would fill the queue of all volumes of its primary.
  if (copying_) session_ = 0;
  RETURN_IF_ERROR(cloner.Clone(folders_->root, kTree, HoldsWorkFolder() ? os::kWorkFolderName : ""));
  RETURN_IF_ERROR(os::PrivateFolder(folder.fd(), kUndo).status());
  ASSIGN_OR_RETURN(UndoSpool records, UndoSpool::Make(folder, kRecords));
  for (const model::Sequence sequence : path) {
    ASSIGN_OR_RETURN(const UndoRecord undo, store_->LoadUndo(sequence));
    RETURN_IF_ERROR(records.Append(undo));
    const absl::StatusOr<os::Root> kept = folders_->work.OpenUndoFolder(sequence);
    if (absl::IsNotFound(kept.status())) continue;  // it keeps nothing
    RETURN_IF_ERROR(kept.status());
    RETURN_IF_ERROR(cloner.Clone(*kept, fmt::format("{}/{}", kUndo, sequence)));
  }
  return records;
}

absl::Status Replica::ClonePoint(model::Sequence to, os::Root folder, const CloneWatcher& watcher) {
  const auto annotate = [&](const absl::Status& status) {
    return Annotate(status, fmt::format("volume '{}' as it was after commit {}", State().volume, to));
  };
  absl::StatusOr<UndoSpool> records = CloneWithUndo(to, folder, watcher);
  if (!records.ok()) return annotate(records.status());
  RETURN_IF_ERROR(TreeCloner::DropLinks(folder));
  ASSIGN_OR_RETURN(os::Fd tree, folder.OpenPath(kTree, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(WorkArea work, WorkArea::In(std::move(folder), os::RenameDomain{}, /*inside_export=*/false));
  ReplicaFolders clone(os::Root(std::move(tree)), std::move(work));
  for (size_t i = 0; i < records->size(); ++i) {
    if (watcher.cancelled()) return Unwanted();
    watcher.step(i, records->size());
    const absl::StatusOr<UndoRecord> undo = records->Next();
    const absl::Status run = undo.ok() ? RunOnClone(*undo, i + 1, clone) : absl::Status(undo.status());
    if (!run.ok()) return annotate(run);
  }
  return absl::OkStatus();
}

}  // namespace understudy::dr
