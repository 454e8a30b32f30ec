// ticker.h: something that is done every so often, on a thread of its own.
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace understudy::primary {

class Ticker {
 public:
  // Calls `tick` until it is destroyed, which waits for a call that is under way.
  Ticker(absl::Duration interval, std::function<void()> tick);
  ~Ticker();

 private:
  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace understudy::primary
