// pair_agents.h: one pair's agents, as a run of the scheduled sync needs them, over gRPC.
#pragma once

#include <memory>
#include <vector>

#include "control/sync/ports.h"
#include "core/config/control_config.h"

namespace understudy::control {

// The pair's own agents, or, for `direction` kToPrimary, its `reverse` agents, which it has to have then. These protect
// what was made at DR only after DR's understudy-dr knows it as live, which refuses every other primary, and the
// primary's own agent was told that the volume isn't its: it would take the copy's objects for new ones, and send the
// copy over the live data. The first copy goes to an empty folder only. What is released is nobody's any more at
// either. INVALID_ARGUMENT: the TLS files are unfit. That an agent can't be reached shows at each call.
[[nodiscard]] absl::StatusOr<std::unique_ptr<PairAgents>> ConnectPair(const config::ControlConfig& config,
                                                                      const config::PairConfig& pair,
                                                                      Direction direction);

}  // namespace understudy::control
