// vm_settings.h: from the settings of a plan to boot groups and probes. Pure.
#pragma once

#include <vector>

#include "control/vm/boot.h"
#include "control/vm/probe.h"
#include "core/config/failover_vm_settings.h"

namespace understudy::control {

[[nodiscard]] BootGroup BootGroupOf(const config::BootGroupConfig& settings);
// One for each kind that the settings ask for: TCP, HTTP, SSH, agent.
[[nodiscard]] std::vector<Probe> ProbesOf(const config::ProbeConfig& settings);

}  // namespace understudy::control
