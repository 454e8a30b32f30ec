// The part of DataPlane that tends the bases of large files, and takes away those of volumes that are gone.
#include <memory>
#include <vector>

#include "agent-primary/capture/base_store.h"
#include "agent-primary/ship/data_plane.h"
#include "core/base/log.h"

namespace understudy::primary {

void DataPlane::TendBases() {
  std::vector<std::shared_ptr<VolumeReplicator>> replicators;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, volume] : volumes_) replicators.push_back(volume.replicator);
  }
  for (const auto& replicator : replicators) replicator->TendBases();
  if (!sweep_at_.has_value() || clock_.Monotonic() < *sweep_at_) return;
  sweep_at_.reset();
  SweepBases();
}

void DataPlane::DiscardBases(const model::VolumeName& name, const std::string& path) const {
  const ExportPlace* const place = InnermostExport(path);
  if (place == nullptr) return;
  const absl::StatusOr<size_t> discarded = BaseStore::Discard(place->path, name);
  if (!discarded.ok()) {
    spdlog::warn("volume={} bases that aren't needed any more stay: {}", name, MessageOf(discarded.status()));
  }
}

void DataPlane::SweepBases() {
  for (const ExportPlace& place : options_.exports) {
    const absl::StatusOr<std::vector<model::VolumeName>> volumes = BaseStore::ListVolumes(place.path);
    if (!volumes.ok()) {
      spdlog::warn("bases that aren't needed any more stay: {}", MessageOf(volumes.status()));
      continue;
    }
    for (const model::VolumeName& name : *volumes) {
      absl::MutexLock registering(&registering_);  // none comes meanwhile
      {
        absl::MutexLock lock(&mutex_);
        if (volumes_.contains(name)) continue;
      }
      spdlog::info("volume={} isn't replicated any more: its bases go", name);
      DiscardBases(name, place.path);
    }
  }
}

}  // namespace understudy::primary
