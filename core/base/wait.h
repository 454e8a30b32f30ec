// wait.h: waiting that a stop request ends.
#pragma once

#include <condition_variable>
#include <mutex>
#include <stop_token>

#include "absl/time/time.h"

namespace understudy {

// Returns after `duration`, or as soon as `stop` is requested. True when the whole duration passed.
inline bool WaitUnlessStopped(std::stop_token stop, absl::Duration duration) {
  std::mutex mutex;
  std::condition_variable_any never_notified;
  std::unique_lock lock(mutex);
  never_notified.wait_for(lock, stop, absl::ToChronoNanoseconds(duration), [] { return false; });
  return !stop.stop_requested();
}

}  // namespace understudy
