#include "core/daemon/service_loop.h"

#include <algorithm>

#include "core/base/log.h"

namespace understudy::daemon {
namespace {

// A sign of life has to come well before systemd runs out of patience.
constexpr int kSignsPerWatchdogTimeout = 4;

}  // namespace

void RunUntilStopped(SignalGate& signals, const ServiceManager& manager, const ServiceCallbacks& callbacks) {
  absl::Duration interval = kStatusInterval;
  if (const auto timeout = manager.WatchdogTimeout())
    interval = std::min(interval, *timeout / kSignsPerWatchdogTimeout);
  const auto status_line = [&] { return callbacks.status_line ? callbacks.status_line() : std::string(); };
  manager.Ready(status_line());
  bool was_live = true;
  while (true) {
    const absl::Status live = callbacks.liveness ? callbacks.liveness() : absl::OkStatus();
    if (live.ok()) {
      manager.KeepAlive();
    } else if (was_live) {
      spdlog::error("not alive: {}", MessageOf(live));
    }
    was_live = live.ok();
    const std::optional<Signal> signal = signals.Wait(interval);
    if (signal == Signal::kStop) break;
    if (signal == Signal::kReload) spdlog::warn("SIGHUP has no effect: restart to take a changed configuration");
    manager.Status(status_line());
  }
  manager.Stopping();
}

}  // namespace understudy::daemon
