// failover_view.h: how a run is shown while it is made, and in lists.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/commands/output.h"
#include "control/runs/dry_run.h"
#include "control/runs/engine.h"
#include "control/runs/run.h"

namespace understudy::control {

// Writes to a console what an engine tells: lines, and at a terminal one more that shows what is being done just now.
// Not thread-safe: an engine tells one thing at a time.
class RunProgressPrinter {
 public:
  explicit RunProgressPrinter(const Console& console) : console_(console) {}
  void operator()(const RunEvent& event);
  // Takes the last line away.
  void End();

 private:
  void Line(const std::string& text);
  void ShowNow(const RunEvent& event);

  const Console& console_;
  std::map<std::string, std::string> told_;  // the last progress of each item
};

[[nodiscard]] Document RunsDocument(const std::vector<RunRecord>& runs);
[[nodiscard]] std::string RunsTable(const std::vector<RunRecord>& runs);

[[nodiscard]] Document PlanDocument(const RunSpec& spec, const std::vector<PlannedStep>& steps);
[[nodiscard]] std::string PlanText(const RunSpec& spec, const std::vector<PlannedStep>& steps);

}  // namespace understudy::control
