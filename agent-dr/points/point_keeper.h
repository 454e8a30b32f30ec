// point_keeper.h: thins the recovery points of all volumes, again and again, on a thread of its own.
#pragma once

#include <stop_token>
#include <thread>

#include "absl/time/time.h"
#include "agent-dr/commit/commit_engine.h"

namespace understudy::dr {

// One round over all volumes: merges until nothing is to be done, or `stop` is requested. Says in the log what failed.
void ThinPoints(CommitEngine& engine, std::stop_token stop);

class PointKeeper {
 public:
  // A round each `interval`, until it is destroyed. `engine` outlives it.
  PointKeeper(CommitEngine& engine, absl::Duration interval);

 private:
  std::jthread thread_;
};

// How often a round is worth it, with states that are all kept for so long.
[[nodiscard]] absl::Duration ThinningInterval(const PointBounds& bounds);

}  // namespace understudy::dr
