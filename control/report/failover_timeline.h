// failover_timeline.h: a picture of a run: a bar for each step along the time, as SVG that stands within HTML. Pure.
//
// Well-formed as XML, without scripts, styles of the page or anything from elsewhere. What a bar's colour says is also
// written beside it; the whole is described in words for who can't see it.
#pragma once

#include <string>

#include "control/report/failover_report.h"

namespace understudy::control {

[[nodiscard]] std::string RenderTimeline(const FailoverReport& report);

}  // namespace understudy::control
