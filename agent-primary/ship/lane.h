// lane.h: one thread and one connection that carry a share of the volumes to DR, in turn.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/ship/volume_replicator.h"
#include "core/base/clock.h"
#include "core/model/replica_sink.h"

namespace understudy::primary {

// Connects a lane to DR. `on_published` and `on_broken` may be called from any thread until the sink is destroyed.
using SinkConnector = std::function<absl::StatusOr<std::unique_ptr<model::ReplicaSink>>(
    std::function<void(const model::VolumeName&, model::Sequence)> on_published, std::function<void()> on_broken)>;

// Thread-safe.
class Lane {
 public:
  // `clock` must outlive it.
  Lane(SinkConnector connect, const Clock& clock);
  ~Lane();

  void Add(std::shared_ptr<VolumeReplicator> replicator);
  // Returns when the volume isn't being run any more.
  void Remove(const model::VolumeName& name);
  // Something may be due.
  void Wake();

  // OK while connected; else why not.
  [[nodiscard]] absl::Status connection() const;

 private:
  void Loop();
  void Connect() ABSL_LOCKS_EXCLUDED(mutex_);
  std::shared_ptr<VolumeReplicator> WaitForWork();
  void RunOne(VolumeReplicator& replicator);
  void Disconnect(const absl::Status& reason);
  std::vector<std::shared_ptr<VolumeReplicator>> Replicators() const;

  const SinkConnector connect_;
  const Clock& clock_;
  std::unique_ptr<model::ReplicaSink> sink_;  // the thread's alone
  int failed_connects_ = 0;                   // likewise

  mutable absl::Mutex mutex_;
  std::vector<std::shared_ptr<VolumeReplicator>> replicators_ ABSL_GUARDED_BY(mutex_);
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;  // where the search for due work begins, so that every volume has its turn
  std::string running_ ABSL_GUARDED_BY(mutex_);
  absl::Status connection_ ABSL_GUARDED_BY(mutex_) = absl::UnavailableError("not connected yet");
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::stop_source stop_runs_;
  std::thread thread_;
};

}  // namespace understudy::primary
