// clusters.h: the clusters of a configuration, and what is the same wherever storage objects are brought to DR.
#pragma once

#include <string>

#include "control/apply/transform.h"
#include "control/sync/direction.h"
#include "core/base/status.h"
#include "core/config/control_config.h"
#include "core/kube/access.h"

namespace understudy::control {

// INVALID_ARGUMENT: the configuration doesn't name the cluster (`name`: primary or dr); or as LoadKubeconfig.
[[nodiscard]] absl::StatusOr<kube::ClusterAccess> AccessTo(const std::optional<config::ClusterConfig>& cluster,
                                                           const std::string& name);

// What is brought to the primary goes by the maps the other way round; where several classes are mapped to one, the
// first of them in the alphabet is meant. `pair` is as it stands in the configuration.
[[nodiscard]] TransformOptions TransformOptionsOf(const config::ControlConfig& config, const config::PairConfig& pair,
                                                  Direction direction = Direction::kToDr);

}  // namespace understudy::control
