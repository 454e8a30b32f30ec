// site_agents.h: the agents of all pairs, as the steps of a failover need them, over gRPC.
#pragma once

#include <memory>
#include <stop_token>

#include "control/failover/ports.h"
#include "core/config/control_config.h"

namespace understudy::control {

// Which way a run goes: to DR; or back, between the agents that a pair names as `reverse`; or none, when it only turns
// the replication round. Catalogs are those of the side that takes over. A run that goes back, or none, also knows the
// objects, and the latter the replicas, that only the other side has: what was made at DR isn't in DR's own catalog.
enum class FailoverWay { kToDr, kBack, kNone };

// INVALID_ARGUMENT: the TLS files are unfit, or there is no way back. That an agent can't be reached shows at each
// call. Every call ends with CANCELLED soon after `stop` is requested; what the agent has begun by then, it may have
// done.
[[nodiscard]] absl::StatusOr<std::unique_ptr<SiteAgents>> ConnectSites(const config::ControlConfig& config,
                                                                       FailoverWay way, std::stop_token stop);

}  // namespace understudy::control
