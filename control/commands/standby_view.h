// standby_view.h: how ready the DR cluster's storage objects are, pair by pair, asked of DR's catalogs and that
// cluster.
#pragma once

#include <map>
#include <string>

#include "control/apply/standby_state.h"
#include "control/commands/output.h"
#include "core/base/status.h"
#include "core/config/control_config.h"

namespace understudy::control {

inline constexpr absl::Duration kStandbyTimeout = absl::Seconds(15);  // for all of it

// By pair; an error for what can't be asked.
using StandbyViews = std::map<std::string, absl::StatusOr<StandbyState>>;

// Empty when no DR cluster is configured. Ends within about kStandbyTimeout.
[[nodiscard]] StandbyViews GatherStandby(const config::ControlConfig& config);

// The stable shape, as in overview.h: {applied, pending, failed, error, problems: […]}.
[[nodiscard]] Document ToDocument(const absl::StatusOr<StandbyState>& view);
// A table of the counts and a line for each problem; empty when there is no view.
[[nodiscard]] std::string StandbyText(const StandbyViews& views);

}  // namespace understudy::control
