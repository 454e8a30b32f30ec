// damage_teller.h: tells the primary of one Replicate stream of damaged files, so that nobody who finds them waits for
// it.
#pragma once

#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "understudy/v1/replication.pb.h"

namespace understudy::dr {

// What waits to be told of one stream.
inline constexpr size_t kMaxUntoldDamage = 1024;

// Thread-safe.
class DamageTeller {
 public:
  // `write` may block; it is called by one thread at a time, and outlives this.
  explicit DamageTeller(std::function<void(const v1::ReplicateResponse&)> write);
  // Waits for a write under way; what waits behind it is dropped.
  ~DamageTeller();
  DamageTeller(const DamageTeller&) = delete;
  DamageTeller& operator=(const DamageTeller&) = delete;

  // Never waits. Past kMaxUntoldDamage it is dropped: what stays damaged is told again after a while.
  void Tell(v1::ReplicateResponse message);

 private:
  void Work();

  const std::function<void(const v1::ReplicateResponse&)> write_;
  absl::Mutex mutex_;
  std::deque<v1::ReplicateResponse> untold_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace understudy::dr
