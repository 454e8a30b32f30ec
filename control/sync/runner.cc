#include "control/sync/runner.h"

#include <fmt/format.h>

#include "control/report/notify.h"
#include "core/base/random_id.h"

namespace understudy::control {

std::string NewRunId(absl::Time now) {
  constexpr size_t kRandomDigits = 4;
  return fmt::format("{}-{}", absl::FormatTime("%Y%m%dT%H%M%SZ", now, absl::UTCTimeZone()),
                     RandomId().substr(0, kRandomDigits));
}

absl::StatusOr<Report> RunAndRecord(const RunLease&, const RunOptions& options, const std::vector<RunParts>& legs,
                                    SyncState& state, const config::NotifyConfig& notify, std::stop_token stop,
                                    const std::function<void(const RunProgress&)>& on_progress) {
  UNDERSTUDY_CHECK(!legs.empty());
  Clock& clock = legs.front().clock;
  RETURN_IF_ERROR(state.BeginRun({.run = options.id,
                                  .trigger = options.trigger,
                                  .made_up = options.made_up,
                                  .dry_run = options.bring.dry_run,
                                  .started_at = clock.Now(),
                                  .ended_at = clock.Now()}));
  Report report;
  bool first = true;
  for (const RunParts& leg : legs) {
    const bool to_primary = leg.direction == Direction::kToPrimary;
    RunOptions known = options;
    if (to_primary) {
      // What was accepted is the primary cluster. The DR cluster is told by what the primary's objects are from.
      known.stale.accept_cluster = false;
    } else {
      ASSIGN_OR_RETURN(known.stale.known_cluster, state.PrimaryCluster());
    }
    Report made = MakeRun(known, leg, stop, on_progress);
    if (first) {
      report = std::move(made);
      for (ObjectResult& object : report.objects) object.to_primary = to_primary;
    } else {
      Merge(std::move(made), report);
    }
    first = false;
  }
  const std::vector<std::string> targets =
      report.dry_run ? std::vector<std::string>() : TargetsOf(notify, HasProblems(report));
  RETURN_IF_ERROR(state.EndRun(report, targets));
  return report;
}

}  // namespace understudy::control
