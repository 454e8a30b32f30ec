// release.h: gives up the data of an object that was deleted at the primary for good: DR moves it to its trash.
#pragma once

#include <string>

#include "control/sync/ports.h"

namespace understudy::control {

struct ReleaseResult {
  bool settled = false;  // false: the next run tries again
  std::string what;      // became of the data, as a person reads it
};

// `release` is owed in `owed` before anything happens, and settled when DR has moved the data, or refuses to for good.
// An error: it couldn't be noted, and nothing happened.
[[nodiscard]] absl::StatusOr<ReleaseResult> GiveUp(const OwedRelease& release, PairAgents& pair, OwedReleases& owed);

}  // namespace understudy::control
