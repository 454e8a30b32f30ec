#include "core/daemon/signals.h"

#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "core/base/clock.h"
#include "core/base/status.h"

namespace understudy::daemon {
namespace {

sigset_t GatedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  return signals;
}

}  // namespace

SignalGate::SignalGate() {
  const sigset_t signals = GatedSignals();
  UNDERSTUDY_CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  UNDERSTUDY_CHECK(std::signal(SIGPIPE, SIG_IGN) != SIG_ERR);
}

std::optional<Signal> SignalGate::Wait(absl::Duration timeout) {
  const sigset_t signals = GatedSignals();
  const absl::Duration deadline = Clock::System().Monotonic() + timeout;
  while (true) {
    const absl::Duration left = std::max(absl::ZeroDuration(), deadline - Clock::System().Monotonic());
    const timespec wait = absl::ToTimespec(left);
    const int number = sigtimedwait(&signals, nullptr, &wait);
    if (number == SIGHUP) return Signal::kReload;
    if (number > 0) return Signal::kStop;
    if (errno != EINTR) return std::nullopt;
  }
}

}  // namespace understudy::daemon
