// standby_service.h: what drctl serve runs: one follower for each pair, all applying to the DR cluster.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/serve/follower.h"
#include "core/base/status.h"
#include "core/config/control_config.h"

namespace understudy::control {

// Works from Start until it is destroyed; thread-safe.
class StandbyService {
 public:
  // INVALID_ARGUMENT or NOT_FOUND: the configuration names no DR cluster, or files that can't be used. That a cluster
  // or an agent can't be reached is no error: it is tried again, and shows in Readiness.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<StandbyService>> Start(const config::ControlConfig& config);
  ~StandbyService();
  StandbyService(const StandbyService&) = delete;
  StandbyService& operator=(const StandbyService&) = delete;

  [[nodiscard]] std::map<std::string, FollowerStatus> Statuses() const;
  // OK when each catalog is followed and has been brought to the cluster once; else what is missing.
  [[nodiscard]] absl::Status Readiness() const;
  [[nodiscard]] std::string StatusLine() const;

 private:
  struct Parts;
  explicit StandbyService(std::unique_ptr<Parts> parts);
  const std::unique_ptr<Parts> parts_;
};

}  // namespace understudy::control
