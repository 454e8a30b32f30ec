// vm_status.h: what KubeVirt's objects say of a virtual machine. Pure.
#pragma once

#include "control/vm/virtual_machines.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

// `instance` is the VirtualMachineInstance of the same name, or null when there is none. Fields that aren't there, or
// aren't of the kind that KubeVirt writes, count as empty.
[[nodiscard]] VmStatus StatusOfVm(const nlohmann::json& machine, const nlohmann::json* instance);

// The merge patch of `spec` that has the machine stopped: of the one of its two fields that it has, never of both.
[[nodiscard]] nlohmann::json StoppingSpec(const VmStatus& status);

// The merge patch of `spec` that has the machine run with `run_strategy`; empty when it is so already. A machine whose
// spec.running can't say that strategy gets spec.runStrategy in its place.
[[nodiscard]] nlohmann::json StrategySpec(const VmStatus& status, const std::string& run_strategy);

}  // namespace understudy::control
