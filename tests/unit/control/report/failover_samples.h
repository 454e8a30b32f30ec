// failover_samples.h: runs of failover plans as their records would be, for tests of their reports.
#pragma once

#include <string>
#include <vector>

#include "control/runs/run.h"

namespace understudy::control {

// The moment so many seconds after a sample's run began: 2026-01-02 03:04:05 UTC.
[[nodiscard]] absl::Time At(double seconds);

// Two volumes and three virtual machines, of which one isn't to run; nothing went wrong.
[[nodiscard]] RunRecord PlannedRun();
// The primary is gone; data is as old as it was.
[[nodiscard]] RunRecord UnplannedRun();
// A volume of it couldn't be promoted; nothing came after that.
[[nodiscard]] RunRecord FailedRun();
// One virtual machine isn't well, and a probe of another failed.
[[nodiscard]] RunRecord PartialRun();
// FailedRun, given up eight hours later.
[[nodiscard]] RunRecord AbortedRun();
// FailedRun, gone on with after 40 minutes, and done.
[[nodiscard]] RunRecord ResumedRun();
// A rehearsal; `keep`: what it made is to stay.
[[nodiscard]] RunRecord TestRun(bool keep);
// PlannedRun with `text` wherever a text can come from elsewhere.
[[nodiscard]] RunRecord HostileRun(const std::string& text);

// The step of the run, to be changed.
[[nodiscard]] StepRecord& StepOf(RunRecord& run, std::string_view name);

}  // namespace understudy::control
