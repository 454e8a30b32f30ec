// quiet_volumes.h: of which volumes nothing is outstanding, as it can be said to DR. Pure but for what it remembers.
#pragma once

#include <map>
#include <vector>

#include "absl/time/time.h"
#include "agent-primary/ship/data_plane.h"
#include "core/model/confirmation.h"

namespace understudy::primary {

// Not thread-safe.
class QuietVolumes {
 public:
  // What can be confirmed at `now`, the wall clock. A volume counts only from its second quiet look on, as of the one
  // before: a write whose event is still on its way had time to show itself.
  [[nodiscard]] std::vector<model::Confirmation> Look(absl::Time now, const std::vector<VolumeReport>& volumes);

 private:
  std::map<model::VolumeName, model::Confirmation> before_;  // those that were quiet at the last look
};

}  // namespace understudy::primary
