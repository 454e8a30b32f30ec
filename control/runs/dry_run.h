// dry_run.h: what a run would do, found out without changing anything.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "control/runs/engine.h"
#include "control/runs/run.h"

namespace understudy::control {

struct PlannedItem {
  std::string what;
  std::string now{};  // how it is: already so, what is wrong, or nothing to say
  bool ok = true;     // false: the run would fail here
};

struct PlannedStep {
  std::string name;
  std::string purpose;
  bool made = false;  // it only looks, so that it was made
  std::vector<PlannedItem> items{};
};

// Makes the steps that only look, and says of the others what they would do and what is so already. Ends after a step
// that would fail.
[[nodiscard]] std::vector<PlannedStep> DryRun(RunRecord run, const Engine::Steps& steps, std::stop_token stop);

// Whether a run would come past everything that was looked at.
[[nodiscard]] bool WouldGo(const std::vector<PlannedStep>& steps);

}  // namespace understudy::control
