// plan_shipper.h: turns the plan of one capture into commits: reads what travels, stages it, submits.
#pragma once

#include "agent-primary/capture/planner.h"
#include "agent-primary/ship/capture_run.h"

namespace understudy::primary {

// Returns when all of the plan is acknowledged; what changed meanwhile or couldn't be read is noted in `result`. Errors
// as RunCapture's.
[[nodiscard]] absl::Status ShipPlan(const CaptureContext& context, const Plan& plan, CaptureResult& result);

}  // namespace understudy::primary
