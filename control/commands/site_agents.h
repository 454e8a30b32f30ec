// site_agents.h: the agents of all pairs, as the steps of a failover need them, over gRPC.
#pragma once

#include <memory>

#include "control/failover/ports.h"
#include "core/config/control_config.h"

namespace understudy::control {

// INVALID_ARGUMENT: the TLS files are unfit. That an agent can't be reached shows at each call.
[[nodiscard]] absl::StatusOr<std::unique_ptr<SiteAgents>> ConnectSites(const config::ControlConfig& config);

}  // namespace understudy::control
