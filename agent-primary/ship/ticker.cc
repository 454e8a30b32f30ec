#include "agent-primary/ship/ticker.h"

#include <utility>

namespace understudy::primary {

Ticker::Ticker(absl::Duration interval, std::function<void()> tick) {
  thread_ = std::thread([this, interval, tick = std::move(tick)] {
    for (;;) {
      {
        absl::MutexLock lock(&mutex_);
        if (mutex_.AwaitWithTimeout(absl::Condition(&stop_), interval)) return;
      }
      tick();
    }
  });
}

Ticker::~Ticker() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

}  // namespace understudy::primary
