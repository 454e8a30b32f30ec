// lanes.h: the messages of one Replicate stream, volume by volume: each volume's in their order, different volumes'
// side by side, so that one volume's sync doesn't hold up another's.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-dr/receive/volume_receiver.h"
#include "core/model/volume.h"

namespace understudy::dr {

inline constexpr size_t kLaneWorkers = 4;                    // threads of one stream, besides its reader
inline constexpr size_t kMaxQueuedBytes = 32 * 1024 * 1024;  // of messages read and not taken yet, of one stream
inline constexpr size_t kMaxVolumesOfStream = 16 * 1024;

// Owns the workers; the destructor drops what is queued and waits for the messages under way.
class Lanes {
 public:
  using MakeReceiver = std::function<std::unique_ptr<VolumeReceiver>()>;

  explicit Lanes(MakeReceiver make_receiver);
  ~Lanes();
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  // Queues a message; waits while too much is queued. RESOURCE_EXHAUSTED: too many volumes.
  [[nodiscard]] absl::Status Push(const model::VolumeName& volume, v1::ReplicateRequest request);

 private:
  struct Message {
    v1::ReplicateRequest request;
    size_t bytes;
  };
  struct Lane {
    std::unique_ptr<VolumeReceiver> receiver;  // of the worker that holds the lane
    std::deque<Message> messages;
    bool scheduled = false;  // in ready_, or held by a worker
  };

  void Work();
  // Waits for a lane with something to do and takes it off the list; nullptr: it is over.
  Lane* TakeLane() ABSL_LOCKS_EXCLUDED(mutex_);

  const MakeReceiver make_receiver_;
  absl::Mutex mutex_;
  std::map<model::VolumeName, Lane> lanes_ ABSL_GUARDED_BY(mutex_);
  std::deque<Lane*> ready_ ABSL_GUARDED_BY(mutex_);
  size_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> workers_;
};

}  // namespace understudy::dr
