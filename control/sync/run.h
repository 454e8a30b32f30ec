// run.h: one run of the scheduled sync: list, bring data and objects across, clean up what is stale, report.
//
// Objects are worked on in parallel, each with an outcome of its own: what one of them meets never holds up another.
// Nothing is written to the primary cluster.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "control/report/report.h"
#include "control/sync/bring.h"
#include "control/sync/stale.h"

namespace understudy::control {

struct RunOptions {
  std::string id;
  Trigger trigger = Trigger::kManual;
  bool made_up = false;
  std::vector<std::string> namespaces;  // empty: all
  size_t parallelism = 8;
  BringOptions bring;  // its dry_run is the run's
  StaleOptions stale;
};

// Where a run is.
struct RunProgress {
  std::string phase;  // "list", "sync", "clean" or "report"
  size_t done = 0;    // claims and snapshots, or deletions
  size_t total = 0;
  size_t failed = 0;  // objects
};

// Of a run to the primary: the claims and snapshots that go that way, and no other, are those whose data does, and what
// was made at DR in namespaces that have such: neither any pair knows its data, nor is it a copy of Understudy's. Pure.
[[nodiscard]] std::vector<model::ObjectKey> TasksToPrimary(const Listing& dr, const LiveVolumes& live);

// One report of two runs, the other way round: an object that one of them skipped is the other's.
void Merge(Report other, Report& report);

// Makes the run and returns when it has ended; nothing is thrown away by a failure: the report says what came of
// everything. A stop request ends it soon, with what wasn't begun skipped. `on_progress` is called from the run's
// threads, one call at a time.
[[nodiscard]] Report MakeRun(const RunOptions& options, const RunParts& parts, std::stop_token stop,
                             const std::function<void(const RunProgress&)>& on_progress);

}  // namespace understudy::control
