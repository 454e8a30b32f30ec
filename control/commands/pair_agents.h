// pair_agents.h: one pair's agents, as a run of the scheduled sync needs them, over gRPC.
#pragma once

#include <memory>
#include <vector>

#include "control/sync/ports.h"
#include "core/config/control_config.h"

namespace understudy::control {

// INVALID_ARGUMENT: the TLS files are unfit. That an agent can't be reached shows at each call.
[[nodiscard]] absl::StatusOr<std::unique_ptr<PairAgents>> ConnectPair(const config::ControlConfig& config,
                                                                      const config::PairConfig& pair);

}  // namespace understudy::control
