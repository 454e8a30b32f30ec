// plan_steps.h: from a plan and a mode to the steps of a run, in their order.
//
// planned, failback: preflight, backup, inventory, pre-sync, stop-vms, vms-down, fence, final-sync, verify, pause,
// promote, storage-objects,
//   restore, boot, probe, clean-up. unplanned: without pre-sync, stop-vms, vms-down, fence, final-sync and pause. test:
//   preflight, backup, inventory, namespaces, points, materialise, test-objects, restore, boot, probe, remove. What the
//   plan has no part for is left
// out: without clusters there are neither machines nor objects.
//
// The backup is fetched and read before anything is stopped: one that can't be used costs nothing then. Verification
// comes before the pause, for it goes by the primary, whose barriers a pause ends.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/failover/parts.h"
#include "control/failover/run_storage.h"
#include "control/runs/engine.h"
#include "core/config/failover_settings.h"

namespace understudy::control {

// `parts` and `storage` must outlive the steps.
[[nodiscard]] Engine::Steps StepsOf(const config::FailoverPlanConfig& plan, RunMode mode, const FailoverParts& parts,
                                    RunStorage& storage);

[[nodiscard]] std::vector<std::string> NamesOf(const Engine::Steps& steps);

}  // namespace understudy::control
