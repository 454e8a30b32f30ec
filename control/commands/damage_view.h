// damage_view.h: the damaged files of all replicas, as drctl status shows them.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "control/commands/output.h"
#include "control/commands/verify_client.h"
#include "core/config/control_config.h"

namespace understudy::control {

// By pair and volume; only what is damaged. A DR agent that can't be asked has none here.
using DamageViews = std::map<std::pair<std::string, std::string>, DamagedReplicaView>;

// Asks all DR agents at once; returns within about kQueryTimeout.
[[nodiscard]] DamageViews GatherDamage(const config::ControlConfig& config);

// {"files", "first": [{"path", "reason", "found"}]}, or null.
[[nodiscard]] Document DamageDocument(const DamageViews& damage, const std::string& pair, const std::string& volume);
// A line for each replica with damaged files, and one for each of these.
[[nodiscard]] std::string DamageLines(const DamageViews& damage);

}  // namespace understudy::control
