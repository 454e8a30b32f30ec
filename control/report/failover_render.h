// failover_render.h: a failover report for people: as text, and as one HTML page without scripts or anything from
// elsewhere, with a timeline (failover_timeline.h). Pure.
//
// Whatever came from a cluster, an agent or a command line is escaped: it can't become markup, nor steer a terminal.
#pragma once

#include <string>

#include "control/report/failover_report.h"

namespace understudy::control {

inline constexpr size_t kTextColumns = 100;
// Rows of one table, and entries of one list, at most; those with problems come first, and what was left out is said.
inline constexpr size_t kMaxRenderedRows = 500;
// Of one message, or of one hook's output; the JSON has all of it.
inline constexpr size_t kMaxRenderedBytes = 2000;

// Lines of at most kTextColumns characters, but for commands, which are for copying; the most important first.
[[nodiscard]] std::string RenderText(const FailoverReport& report);
// Well-formed as XML, too.
[[nodiscard]] std::string RenderHtml(const FailoverReport& report);
// One line for a mail's subject: printable ASCII.
[[nodiscard]] std::string SubjectOf(const FailoverReport& report);

// "0.4 s", "36 min 10 s", "2 h 3 min", "3 d 4 h".
[[nodiscard]] std::string DurationText(absl::Duration duration);

}  // namespace understudy::control
