#include "control/runs/guards.h"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::control {
namespace {

bool WasBegun(const StepRecord& step) {
  return std::any_of(step.items.begin(), step.items.end(), [](const ItemRecord& item) { return item.attempts > 0; });
}

}  // namespace

size_t FirstToAsk(const RunRecord& run, const std::vector<std::unique_ptr<Step>>& steps) {
  for (size_t i = steps.size(); i > 0; --i) {
    if (steps[i - 1]->IsPointOfNoReturn() && WasBegun(run.steps[i - 1])) return i - 1;
  }
  return 0;
}

absl::StatusOr<std::optional<size_t>> FindLapsed(const RunRecord& run, const std::vector<std::unique_ptr<Step>>& steps,
                                                 std::stop_token stop) {
  for (size_t i = FirstToAsk(run, steps); i < steps.size(); ++i) {
    if (!run.steps[i].ended_at) continue;
    const absl::StatusOr<bool> holds = steps[i]->StillSo(run, stop);
    if (!holds.ok()) {
      return Annotate(holds.status(), fmt::format("{}: whether it still holds can't be told", run.steps[i].name));
    }
    if (!*holds) return i;
  }
  return std::nullopt;
}

std::vector<std::string> StepsToReopen(const RunRecord& run, const std::vector<std::unique_ptr<Step>>& steps,
                                       size_t lapsed) {
  std::vector<std::string> names;
  for (size_t i = lapsed; i < steps.size(); ++i) {
    if (steps[i]->RunsAfterFailure()) continue;
    if (run.steps[i].begun_at || run.steps[i].ended_at) names.push_back(run.steps[i].name);
  }
  return names;
}

void Reopen(StepRecord& step, const std::string& why) {
  step.ended_at.reset();
  for (ItemRecord& item : step.items) {
    if (item.state == ItemState::kPending) continue;
    item.state = ItemState::kPending;
    item.ended_at.reset();
    item.message.clear();
    item.warnings.push_back(why);
  }
}

}  // namespace understudy::control
