// guards.h: what an ended step of a run brought about has to hold still when the run goes on, an hour or a week later:
// exports that are read-only, machines that are stopped, replication that is paused.
//
// Whoever takes a run up asks each ended step. The first that says no is made again, with all that was made on the
// strength of it. Nobody is asked about what comes before a step that can't be taken back and was begun: by then the
// other side may have written, and the way leads on only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "control/runs/run.h"
#include "control/runs/step.h"
#include "core/base/status.h"

namespace understudy::control {

// The first step that is to be asked: nothing before it can be gone back to. Pure.
[[nodiscard]] size_t FirstToAsk(const RunRecord& run, const std::vector<std::unique_ptr<Step>>& steps);

// The first ended step of `run`, whose steps are those of `steps`, that doesn't hold any more. An error: that can't be
// told; names the step. Changes nothing.
[[nodiscard]] absl::StatusOr<std::optional<size_t>> FindLapsed(const RunRecord& run,
                                                               const std::vector<std::unique_ptr<Step>>& steps,
                                                               std::stop_token stop);

// `lapsed` and what was begun or ended after it; what takes a rehearsal away isn't among them. Pure.
[[nodiscard]] std::vector<std::string> StepsToReopen(const RunRecord& run,
                                                     const std::vector<std::unique_ptr<Step>>& steps, size_t lapsed);

// As RunJournal::Reopen does in the store. Pure.
void Reopen(StepRecord& step, const std::string& why);

}  // namespace understudy::control
