#include "agent-dr/points/point_keeper.h"

#include <algorithm>

#include "core/base/log.h"
#include "core/base/wait.h"

namespace understudy::dr {

void ThinPoints(CommitEngine& engine, std::stop_token stop) {
  for (const model::ReplicaState& replica : engine.List()) {
    size_t merged = 0;
    while (!stop.stop_requested()) {
      const absl::StatusOr<size_t> some = engine.Thin(replica.volume);
      if (absl::IsNotFound(some.status())) break;  // it went to the trash
      if (!some.ok()) spdlog::error("volume={} {}", replica.volume, MessageOf(some.status()));
      if (!some.ok() || *some == 0) break;
      merged += *some;
    }
    if (merged > 0) spdlog::info("volume={} recovery points merged, or past their bounds: {}", replica.volume, merged);
  }
}

PointKeeper::PointKeeper(CommitEngine& engine, absl::Duration interval)
    : thread_([&engine, interval](std::stop_token stop) {
        do {
          ThinPoints(engine, stop);
        } while (WaitUnlessStopped(stop, interval));
      }) {}

absl::Duration ThinningInterval(const PointBounds& bounds) {
  return std::clamp(bounds.keep_all_for / 4, absl::Seconds(10), absl::Minutes(15));
}

}  // namespace understudy::dr
