// stop_on_signal.h: a command that takes long ends in good order at Ctrl-C.
#pragma once

#include <stop_token>
#include <thread>

#include "absl/time/time.h"
#include "core/daemon/signals.h"

namespace understudy::control {

// Requests a stop when SIGINT or SIGTERM comes; made before any other thread.
class StopOnSignal {
 public:
  StopOnSignal()
      : thread_([this](std::stop_token ended) {
          while (!ended.stop_requested()) {
            if (signals_.Wait(kStep) == daemon::Signal::kStop) source_.request_stop();
          }
        }) {}
  [[nodiscard]] std::stop_token Token() const { return source_.get_token(); }

 private:
  static constexpr absl::Duration kStep = absl::Milliseconds(200);

  daemon::SignalGate signals_;
  std::stop_source source_;
  std::jthread thread_;
};

}  // namespace understudy::control
