#include "core/daemon/service_manager.h"

#include <systemd/sd-daemon.h>

#include <algorithm>

namespace understudy::daemon {
namespace {

// The protocol is lines of KEY=value.
std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

void ServiceManager::Ready(const std::string& status) const {
  sd_notify(0, ("READY=1\nSTATUS=" + OneLine(status)).c_str());
}

void ServiceManager::Stopping() const {
  sd_notify(0, "STOPPING=1");
}

void ServiceManager::Status(const std::string& status) const {
  sd_notify(0, ("STATUS=" + OneLine(status)).c_str());
}

void ServiceManager::KeepAlive() const {
  sd_notify(0, "WATCHDOG=1");
}

std::optional<absl::Duration> ServiceManager::WatchdogTimeout() const {
  uint64_t microseconds = 0;
  if (sd_watchdog_enabled(0, &microseconds) <= 0) return std::nullopt;
  return absl::Microseconds(microseconds);
}

}  // namespace understudy::daemon
