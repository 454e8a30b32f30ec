#include "agent-primary/ship/quiet_volumes.h"

#include <utility>

namespace understudy::primary {
namespace {

bool IsQuiet(const ReplicatorStatus& status) {
  return status.state == ReplicationState::kIdle && status.complete && status.error.empty() &&
         status.lag_seconds == 0 && status.dirty_paths == 0;
}

}  // namespace

std::vector<model::Confirmation> QuietVolumes::Look(absl::Time now, const std::vector<VolumeReport>& volumes) {
  std::map<model::VolumeName, model::Confirmation> quiet;
  std::vector<model::Confirmation> confirmed;
  for (const VolumeReport& volume : volumes) {
    const ReplicatorStatus& status = volume.status;
    if (!IsQuiet(status)) continue;
    const auto before = before_.find(volume.name);
    if (before != before_.end() && before->second.epoch == status.epoch && before->second.sequence == status.sequence &&
        before->second.as_of <= now) {
      confirmed.push_back(before->second);
    }
    quiet[volume.name] = {.volume = volume.name, .epoch = status.epoch, .sequence = status.sequence, .as_of = now};
  }
  before_ = std::move(quiet);
  return confirmed;
}

}  // namespace understudy::primary
