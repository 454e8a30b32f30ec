// What the change source can't tell by name, or at all: an NFS server writes by handle, a mapped page or a loop device
// without any event.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent-primary/ship/volume_replicator.h"

namespace understudy::primary {
namespace {

// Looking at large files takes at most this part of the time.
constexpr int kLookShare = 50;
// Others of the lane wait meanwhile.
constexpr absl::Duration kLongestLook = absl::Milliseconds(20);

}  // namespace

absl::Status VolumeReplicator::FindUntold(Look& look, const os::Root& root) {
  RETURN_IF_ERROR(NameInodes(look.batch));
  if (look.batch.whole_volume) return absl::OkStatus();
  if (look.large_files) RETURN_IF_ERROR(LookAtLargeFiles(look, root));
  return look.barrier_waits ? absl::OkStatus() : CompleteMoment(look);
}

// What the index doesn't know hasn't been captured yet, so that the hint that told of its name is still to be taken, or
// is in this batch; or it isn't in this volume.
absl::Status VolumeReplicator::NameInodes(DirtyBatch& batch) {
  for (const uint64_t inode : batch.inodes) {
    ASSIGN_OR_RETURN(const std::vector<IndexEntry> names, index_->ListByInode(inode));
    for (const IndexEntry& name : names) batch.paths.push_back({name.path, /*subtree=*/false});
  }
  batch.inodes.clear();
  return absl::OkStatus();
}

// A barrier takes them all. Else a part of them is looked at, and the next part the next time; one has to differ from
// what the index knows, and nothing that waits for its time already is hurried.
absl::Status VolumeReplicator::LookAtLargeFiles(Look& look, const os::Root& root) {
  const absl::Duration began = clock_.Monotonic();
  ASSIGN_OR_RETURN(const std::vector<std::string> large, index_->ListLarge(look.barrier_waits ? "" : looked_up_to_));
  bool found = false;
  for (const std::string& path : large) {
    bool untold = true;
    if (!look.barrier_waits) {
      if (clock_.Monotonic() - began > kLongestLook) break;
      looked_up_to_ = path;
      ASSIGN_OR_RETURN(untold, IsUntold(path, root));
      found |= untold;
    }
    if (untold) look.batch.paths.push_back({path, /*subtree=*/false});
  }
  if (large.empty() || looked_up_to_ == large.back()) looked_up_to_.clear();
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_.Monotonic();
  const absl::Duration pause = kLookShare * (now - began);
  next_large_look_ = now + (looked_up_to_.empty() ? std::max(options_.times.max_delay, pause) : pause);
  if (found) look.batch.oldest_hint = std::min(look.batch.oldest_hint.value_or(began), began);
  oldest_in_flight_ = look.batch.oldest_hint;
  return absl::OkStatus();
}

absl::StatusOr<bool> VolumeReplicator::IsUntold(const std::string& path, const os::Root& root) {
  if (resting_.contains(path) || unreadable_.contains(path)) return false;
  {
    absl::MutexLock lock(&mutex_);
    if (dirty_.Contains(path)) return false;
  }
  ASSIGN_OR_RETURN(const std::optional<IndexRow> row, index_->Find(path));
  const absl::StatusOr<os::EntryStat> stat = root.Stat(path);
  if (!stat.ok()) return absl::IsNotFound(stat.status());  // whatever else is wrong with it, its own hints tell
  return row.has_value() && !IsUnchanged(*row, *stat);
}

}  // namespace understudy::primary
