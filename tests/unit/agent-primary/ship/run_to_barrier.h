// run_to_barrier.h: a replicator that the test runs itself until a barrier is passed.
#pragma once

#include "absl/time/time.h"
#include "agent-primary/ship/volume_replicator.h"
#include "core/base/status.h"
#include "core/model/replica_sink.h"

namespace understudy::primary {

// `published`: the replica's folder shows it, too.
[[nodiscard]] inline absl::Status RunToBarrier(VolumeReplicator& replicator, model::ReplicaSink& sink, bool published) {
  const uint64_t barrier = replicator.RequestBarrier();
  while (!replicator.AwaitBarrier(barrier, published, absl::ZeroDuration())) {
    RETURN_IF_ERROR(replicator.Run(sink, {}));
  }
  return absl::OkStatus();
}

// The same after a look at every entry.
[[nodiscard]] inline absl::Status ScanToBarrier(VolumeReplicator& replicator, model::ReplicaSink& sink,
                                                bool published) {
  replicator.OnOverflow();
  return RunToBarrier(replicator, sink, published);
}

}  // namespace understudy::primary
