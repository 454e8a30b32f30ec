// render.h: a report for people: as text, and as one HTML page without scripts or anything from elsewhere. Pure.
//
// Whatever came from a cluster is escaped: names and messages can't become markup, nor steer a terminal.
#pragma once

#include <string>
#include <string_view>

#include "control/report/report.h"

namespace understudy::control {

// Objects that a rendering lists at most; those with problems come first, and what was left out is said.
inline constexpr size_t kMaxRenderedObjects = 1000;

[[nodiscard]] std::string RenderText(const Report& report);
[[nodiscard]] std::string RenderHtml(const Report& report);
// One line for a mail's subject: printable ASCII.
[[nodiscard]] std::string SubjectOf(const Report& report);

[[nodiscard]] std::string EscapeHtml(std::string_view text);

}  // namespace understudy::control
