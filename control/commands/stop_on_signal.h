// stop_on_signal.h: a command that takes long ends in good order at Ctrl-C, and at once at the second one.
#pragma once

#include <cstdlib>
#include <stop_token>
#include <thread>

#include "absl/time/time.h"
#include "core/daemon/signals.h"

namespace understudy::control {

// How a shell tells that SIGINT ended a program.
inline constexpr int kInterruptedExitCode = 130;

// Requests a stop when SIGINT or SIGTERM comes; made before any other thread. Whoever sends another one doesn't want to
// wait for that: the process ends with kInterruptedExitCode, in the midst of whatever it does, as a crash would end it.
class StopOnSignal {
 public:
  StopOnSignal()
      : thread_([this](std::stop_token ended) {
          while (!ended.stop_requested()) {
            if (signals_.Wait(kStep) != daemon::Signal::kStop) continue;
            if (!source_.request_stop()) std::_Exit(kInterruptedExitCode);
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
