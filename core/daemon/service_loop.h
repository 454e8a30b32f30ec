// service_loop.h: the life of a long-running program between its start and a signal to stop.
#pragma once

#include <functional>
#include <string>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/daemon/service_manager.h"
#include "core/daemon/signals.h"

namespace understudy::daemon {

inline constexpr absl::Duration kStatusInterval = absl::Seconds(5);

struct ServiceCallbacks {
  // Whether the program still does its work. Called by the loop's thread several times in each watchdog period; must
  // not block. While it isn't OK systemd gets no sign of life, and so restarts the program in the end.
  std::function<absl::Status()> liveness;
  // One line for `systemctl status`; may be empty.
  std::function<std::string()> status_line;
};

// Tells the service manager that the program is ready, keeps it informed, and returns when SIGTERM or SIGINT came,
// after saying that it stops. SIGHUP is logged and has no effect.
void RunUntilStopped(SignalGate& signals, const ServiceManager& manager, const ServiceCallbacks& callbacks);

}  // namespace understudy::daemon
