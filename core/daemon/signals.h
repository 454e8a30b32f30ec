// signals.h: the signals of a long-running program, taken one at a time by its main thread.
#pragma once

#include <optional>

#include "absl/time/time.h"

namespace understudy::daemon {

enum class Signal { kStop, kReload };  // SIGTERM or SIGINT; SIGHUP

// Blocks the signals for this thread and for every thread that it starts later, so it has to be made before any other
// thread is; SIGPIPE is ignored from then on. One per process. Not thread-safe: the main thread's.
class SignalGate {
 public:
  SignalGate();
  SignalGate(const SignalGate&) = delete;
  SignalGate& operator=(const SignalGate&) = delete;

  // The next signal; nullopt when none came within `timeout`.
  [[nodiscard]] std::optional<Signal> Wait(absl::Duration timeout);
};

}  // namespace understudy::daemon
