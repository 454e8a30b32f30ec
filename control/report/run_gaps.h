// run_gaps.h: when nothing of a run was under way. Pure.
#pragma once

#include <vector>

#include "control/report/failover_report.h"

namespace understudy::control {

// By time, disjoint, none shorter than kShortestGap. An item that was tried again is recorded as one piece from its
// first begin; that it was given up in between is known from the note of who resumed the run. So the gap before such a
// note begins with the last thing recorded before it, which may be somewhat before the work ended.
[[nodiscard]] std::vector<RunGap> FindGaps(const RunRecord& run, absl::Time now);

}  // namespace understudy::control
