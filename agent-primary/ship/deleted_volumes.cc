// The part of DataPlane that tells DR of volumes that were deleted, and removes what this host keeps of them.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "absl/synchronization/mutex.h"
#include "agent-primary/index/volume_index.h"
#include "agent-primary/ship/data_plane.h"
#include "agent-primary/ship/handover.h"
#include "core/base/log.h"

namespace understudy::primary {

absl::Status DataPlane::Discard(const std::string& name, const VolumePlace& place) {
  RETURN_IF_ERROR(model::ValidateVolumeName(name));
  const auto replicated = [&] {
    absl::MutexLock lock(&mutex_);
    return volumes_.contains(name);
  };
  if (replicated() || options_.discard == nullptr) return absl::OkStatus();
  if (const auto role = roles_->Find(name); role.has_value() && !role->live) {
    return absl::FailedPreconditionError(HandedOverText(name, *role));
  }
  RETURN_IF_ERROR(TellDiscarded(name, place));
  absl::MutexLock registering(&registering_);
  if (replicated()) return absl::OkStatus();
  RETURN_IF_ERROR(paused_->Resume(name));  // a volume of that name that comes later is another one
  return RemoveIndex(name, place.path);
}

absl::Status DataPlane::RemoveIndex(const model::VolumeName& name, const std::string& path) const {
  DiscardBases(name, path);
  for (const char* const suffix : {"", "-wal", "-shm"}) {
    const std::string file = IndexFile(name) + suffix;
    if (::unlink(file.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, fmt::format("remove '{}'", file));
  }
  return absl::OkStatus();
}

absl::Status DataPlane::TellDiscarded(const model::VolumeName& name, const VolumePlace& place) {
  IndexState known;
  {
    // Not open while DR is asked: a volume of that name may come back meanwhile.
    const absl::StatusOr<std::unique_ptr<VolumeIndex>> index = VolumeIndex::Open(IndexFile(name));
    if (absl::IsDataLoss(index.status())) return absl::FailedPreconditionError(index.status().message());
    RETURN_IF_ERROR(index.status());
    known = (*index)->state();
  }
  if (known.replica_id.empty()) {
    spdlog::info("volume={} was deleted; this host knows of no replica of it, so DR isn't told", name);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(options_.discard({name, place.replica_path, known.replica_id, known.epoch}));
  spdlog::info("volume={} was deleted; its data is in DR's trash", name);
  return absl::OkStatus();
}

}  // namespace understudy::primary
