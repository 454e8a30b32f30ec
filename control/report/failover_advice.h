// failover_advice.h: what a person has to do after a failover run, and what the run did that stays. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/report/failover_report.h"

namespace understudy::control {

// By the run's result and mode, in the order in which to do it. `machines` and the rest of the report must be built.
[[nodiscard]] std::vector<Advice> NextOf(const FailoverReport& report);
// FailoverReport::stays.
[[nodiscard]] std::vector<Advice> StaysOf(const RunRecord& run);

// `text` as one word of a POSIX shell.
[[nodiscard]] std::string ShellWord(std::string_view text);

}  // namespace understudy::control
