// service_manager.h: what systemd is told (sd_notify(3)): readiness, stopping, a line of status, signs of life.
//
// Does nothing when systemd didn't start the program with NOTIFY_SOCKET. Thread-safe.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"

namespace understudy::daemon {

class ServiceManager {
 public:
  void Ready(const std::string& status) const;
  void Stopping() const;
  void Status(const std::string& status) const;
  void KeepAlive() const;

  // How long systemd waits for a sign of life (WATCHDOG_USEC); nullopt: it doesn't.
  [[nodiscard]] std::optional<absl::Duration> WatchdogTimeout() const;
};

}  // namespace understudy::daemon
