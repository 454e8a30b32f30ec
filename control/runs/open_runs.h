// open_runs.h: which run is meant when nobody names one. Pure.
#pragma once

#include <string>
#include <vector>

#include "control/runs/run.h"
#include "core/base/status.h"

namespace understudy::control {

// The id of the open run among `runs`, the newest first: a real one before a rehearsal, and one that nobody works on
// before one that is under way; with `only_rehearsals` no real one. NOT_FOUND: none is open. INVALID_ARGUMENT: several
// of the same class are; lists them.
[[nodiscard]] absl::StatusOr<std::string> ChooseOpenRun(const std::vector<RunRecord>& runs, bool only_rehearsals);

// The step that takes a rehearsal away, by the name that it has in every record.
inline constexpr char kRemovalStep[] = "remove";
// Whether what the rehearsal made is going already: then it can only be removed.
[[nodiscard]] bool RemovalHasBegun(const RunRecord& run);

}  // namespace understudy::control
