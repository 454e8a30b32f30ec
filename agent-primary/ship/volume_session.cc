// The part of VolumeReplicator that finds out what DR holds: a session is opened, and what is doubted is compared anew.
#include <algorithm>
#include <utility>

#include "agent-primary/ship/volume_replicator.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"

namespace understudy::primary {
namespace {

// So many refusals one after the other aren't the doing of a look at moving folders.
constexpr int kRefusalsToCompare = 3;
// More than so many unsettled entries are found by a scan.
constexpr size_t kMaxUnsettledPaths = 10'000;

int64_t MtimeNanoseconds(const model::Metadata& metadata) {
  return metadata.mtime_seconds * 1'000'000'000 + metadata.mtime_nanoseconds;
}

// What DR has is known; which file at the primary it came from isn't, so every file is looked at once.
IndexRow RowOf(const model::InventoryEntry& entry) {
  IndexRow row;
  row.kind = entry.kind;
  row.size = entry.kind == model::FileKind::kDirectory ? 0 : entry.size;
  row.mtime_nanoseconds = MtimeNanoseconds(entry.metadata);
  row.ctime_nanoseconds = kUnsettledCtime;
  row.mode = entry.metadata.mode;
  row.uid = entry.metadata.uid;
  row.gid = entry.metadata.gid;
  row.device = entry.device;
  row.xattrs = DigestOfXattrs(entry.metadata.xattrs);
  row.file = entry.link_id;
  if (entry.digest.has_value()) row.content = *entry.digest;
  if (entry.kind == model::FileKind::kSymlink) row.content = delta::DigestOf(entry.symlink_target);
  return row;
}

}  // namespace

absl::Status VolumeReplicator::OpenSession(model::ReplicaSink& sink) {
  ASSIGN_OR_RETURN(const model::ReplicaState replica,
                   sink.Open({name_, replica_root_, std::max(index_->state().epoch, options_.least_epoch)}));
  {
    absl::MutexLock lock(&mutex_);
    if (promoted_.has_value()) spdlog::info("volume={} is a standby at DR again", name_);
    promoted_.reset();
    // One that doesn't know of labels says nothing of the state that was told last.
    const bool untold = replica.consistency == model::Consistency::kUnknown && replica.sequence == told_sequence_;
    if (!untold) status_.consistency = replica.consistency;
  }
  const IndexState& known = index_->state();
  const bool same_replica = known.replica_id == replica.replica_id && known.epoch == replica.epoch;
  // Another primary's commits have the same numbers.
  const bool ours = known.commit_id == replica.commit_id;
  const bool staged = known.staged_commit_id == replica.commit_id;
  if (same_replica && known.sequence == replica.sequence && ours) {
    RETURN_IF_ERROR(index_->DropStaged());
  } else if (same_replica && known.staged_sequence == replica.sequence && staged) {
    // The acknowledgement was on its way when the connection broke.
    RETURN_IF_ERROR(index_->Acknowledge());
  } else {
    RETURN_IF_ERROR(Reconcile(sink, replica));
  }
  RETURN_IF_ERROR(LookAtUnsettled());
  leftovers_ = std::set<std::string>(replica.leftovers.begin(), replica.leftovers.end());
  session_open_ = true;
  opened_for_barrier_ = opens_for_barrier_;
  CopyIndexState();
  SetPublished(replica.published_sequence);
  return absl::OkStatus();
}

absl::Status VolumeReplicator::Reconcile(model::ReplicaSink& sink, const model::ReplicaState& replica) {
  spdlog::info("volume={} sequence={} asking DR what it holds", name_, replica.sequence);
  {
    absl::MutexLock lock(&mutex_);
    status_.state = ReplicationState::kScanning;
    status_.error.clear();
    dirty_.AddWholeVolume(clock_.Monotonic(), /*hinted=*/false);
  }
  IndexState next;
  next.replica_id = replica.replica_id;
  next.epoch = replica.epoch;
  next.sequence = replica.sequence;
  next.commit_id = replica.commit_id;
  next.complete = replica.complete;
  return index_->Rebuild(next, [&](VolumeIndex& index) {
    return sink.Inventory(name_, /*with_digests=*/true, [&](const model::InventoryEntry& entry) {
      return index.PutRebuilt(entry.path, RowOf(entry), entry.segments);
    });
  });
}

// A capture that was cut off may have left entries at DR that nothing will hint at.
absl::Status VolumeReplicator::LookAtUnsettled() {
  ASSIGN_OR_RETURN(const std::vector<std::string> unsettled, index_->ListUnsettled(kMaxUnsettledPaths + 1));
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_.Monotonic();
  if (unsettled.size() > kMaxUnsettledPaths) {
    dirty_.AddWholeVolume(now, /*hinted=*/false);
  } else {
    for (const std::string& path : unsettled) dirty_.AddRecheck(path, now);
  }
  return absl::OkStatus();
}

absl::Status VolumeReplicator::DoubtDamaged() {
  std::map<std::string, model::DamagedFile> damaged;
  {
    absl::MutexLock lock(&mutex_);
    damaged = std::exchange(damaged_, {});
  }
  for (const auto& [path, file] : damaged) {
    ASSIGN_OR_RETURN(const std::vector<std::string> names, index_->Doubt(file));
    if (names.empty()) continue;  // not there any more
    spdlog::warn("volume={} DR found '{}' damaged there: it is sent again", name_, Printable(path));
    absl::MutexLock lock(&mutex_);
    for (const std::string& name : names) dirty_.AddRecheck(name, clock_.Monotonic());
  }
  return absl::OkStatus();
}

// DR refused what doesn't fit what it holds, and changed nothing. A look at a volume whose folders were renamed
// meanwhile can lead to that, and the next one doesn't; else the index is wrong about DR, and the replica is compared
// as a whole at the next opening.
absl::Status VolumeReplicator::DoubtIndex(const absl::Status& refusal) {
  if (++refusals_in_a_row_ < kRefusalsToCompare) {
    spdlog::info("volume={} {}; looking at the volume again", name_, MessageOf(refusal));
    absl::MutexLock lock(&mutex_);
    dirty_.AddWholeVolume(clock_.Monotonic(), /*hinted=*/false);
    return absl::OkStatus();
  }
  spdlog::warn("volume={} {}; the replica is compared with the volume", name_, MessageOf(refusal));
  refusals_in_a_row_ = 0;
  IndexState unknown;
  unknown.epoch = index_->state().epoch;
  return index_->Rebuild(unknown, [](VolumeIndex&) { return absl::OkStatus(); });
}

void VolumeReplicator::ForgetSession() {
  session_open_ = false;
  absl::MutexLock lock(&mutex_);
  stalled_since_ = std::min(stalled_since_, clock_.Monotonic());
  if (promoted_.has_value()) not_before_ = -absl::InfiniteDuration();  // DR may have been demoted meanwhile
}

}  // namespace understudy::primary
