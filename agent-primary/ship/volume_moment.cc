// The part of VolumeReplicator that has a commit show the volume at one moment.
#include <algorithm>
#include <iterator>
#include <utility>

#include "agent-primary/ship/volume_replicator.h"
#include "core/os/fine_times.h"
#include "core/os/stat.h"

namespace understudy::primary {
namespace {

// So many are looked at for what a commit of one moment needs, at every commit of a large file.
constexpr size_t kFewPaths = 64;
constexpr uint64_t kFewEntries = 1000;
// How long a commit waits for the hints that are on their way.
constexpr absl::Duration kFlushPatience = absl::Milliseconds(10);

}  // namespace

// A commit of a large file shows one moment only if it has whatever else changed before that, where that costs little.
// Writes to other large files can come without any hint (an NFS server's by handle, mmap).
absl::Status VolumeReplicator::CompleteMoment(Look& look) {
  ASSIGN_OR_RETURN(const bool has_large, HasLargeFile(look.batch));
  if (!has_large) return absl::OkStatus();
  TakeAlong(look);
  RETURN_IF_ERROR(NameInodes(look.batch));
  if (look.batch.whole_volume || index_->entries() > kFewEntries) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<std::string> large, index_->ListLarge(/*after=*/""));
  for (std::string& path : large) look.batch.paths.push_back({std::move(path), false});
  return absl::OkStatus();
}

// That may be frozen.
absl::StatusOr<bool> VolumeReplicator::HasLargeFile(const DirtyBatch& batch) {
  if (options_.export_path.empty() || options_.strategy != Strategy::kAuto) return false;
  if (batch.paths.size() > kFewPaths) return false;
  for (const DirtyPath& dirty : batch.paths) {
    ASSIGN_OR_RETURN(const std::optional<IndexRow> row, index_->Find(dirty.path));
    if (row.has_value() && row->size >= options_.least_frozen_bytes) return true;
  }
  return false;
}

// What isn't due yet, too: a commit without it wouldn't show the volume at one moment.
void VolumeReplicator::TakeAlong(Look& look) {
  absl::MutexLock lock(&mutex_);
  DirtyBatch more = dirty_.Take(look.began, /*all=*/true);
  look.batch.whole_volume |= more.whole_volume;
  std::move(more.paths.begin(), more.paths.end(), std::back_inserter(look.batch.paths));
  look.batch.inodes = std::move(more.inodes);  // of those before, the names are known
  if (more.oldest_hint.has_value()) {
    look.batch.oldest_hint = std::min(look.batch.oldest_hint.value_or(*more.oldest_hint), *more.oldest_hint);
  }
  oldest_in_flight_ = look.batch.oldest_hint;
}

bool VolumeReplicator::IsAllTold(const FrozenFiles& but) {
  const auto told = [&] {
    absl::MutexLock lock(&mutex_);
    return coverage_.ok() && dirty_.HoldsOnly(but.paths, but.inodes);
  };
  if (!told()) return false;  // and nobody need wait
  if (options_.flush_hints && !options_.flush_hints(kFlushPatience).ok()) return false;
  return told();
}

bool VolumeReplicator::HasFineTimes(const os::Root& root) {
  const absl::StatusOr<os::EntryStat> stat = os::StatAt(root.fd(), "");
  if (!stat.ok() || options_.export_path.empty()) return false;
  const auto [place, added] = fine_times_.try_emplace(stat->filesystem, false);
  if (!added) return place->second;
  fine_times_ = {{stat->filesystem, false}};
  // Beside the volume, as what is tried in it would be a change.
  const absl::StatusOr<os::Root> exported = os::Root::Open(options_.export_path);
  if (!exported.ok()) return false;
  const absl::StatusOr<os::EntryStat> beside = os::StatAt(exported->fd(), "");
  const bool same = beside.ok() && beside->filesystem == stat->filesystem;
  return fine_times_[stat->filesystem] = same && os::HasFineTimes(exported->fd());
}

}  // namespace understudy::primary
