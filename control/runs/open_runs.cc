#include "control/runs/open_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/base/log.h"

namespace understudy::control {

absl::StatusOr<std::string> ChooseOpenRun(const std::vector<RunRecord>& runs, bool only_rehearsals) {
  struct Class {
    bool rehearsals;
    bool under_way;
  };
  constexpr std::array<Class, 4> kByPrecedence = {{{false, false}, {false, true}, {true, false}, {true, true}}};
  for (const auto& [rehearsals, under_way] : kByPrecedence) {
    if (only_rehearsals && !rehearsals) continue;
    std::vector<const RunRecord*> open;
    for (const RunRecord& run : runs) {
      const bool fits = !run.over && (run.spec.mode == RunMode::kTest) == rehearsals &&
                        (run.state == RunState::kRunning) == under_way;
      if (fits) open.push_back(&run);
    }
    if (open.empty()) continue;
    if (open.size() == 1) return open.front()->spec.id;
    std::string list;
    for (const RunRecord* const run : open) {
      list += fmt::format("\n  {}: plan {}, {}, {}", run->spec.id, Printable(run->spec.plan), ToString(run->spec.mode),
                          ToString(run->state));
    }
    return absl::InvalidArgumentError(fmt::format("which run? {} are open:{}", open.size(), list));
  }
  return absl::NotFoundError(only_rehearsals ? "no rehearsal is open" : "no run is open");
}

bool RemovalHasBegun(const RunRecord& run) {
  const StepRecord* const removal = run.Find(kRemovalStep);
  return removal != nullptr && removal->begun_at.has_value();
}

}  // namespace understudy::control
