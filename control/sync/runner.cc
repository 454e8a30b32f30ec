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

absl::StatusOr<Report> RunAndRecord(const RunLease&, const RunOptions& options, const RunParts& parts, SyncState& state,
                                    const config::NotifyConfig& notify, std::stop_token stop,
                                    const std::function<void(const RunProgress&)>& on_progress) {
  RETURN_IF_ERROR(state.BeginRun({.run = options.id,
                                  .trigger = options.trigger,
                                  .made_up = options.made_up,
                                  .dry_run = options.bring.dry_run,
                                  .started_at = parts.clock.Now(),
                                  .ended_at = parts.clock.Now()}));
  RunOptions known = options;
  ASSIGN_OR_RETURN(known.stale.known_cluster, state.PrimaryCluster());
  Report report = MakeRun(known, parts, std::move(stop), on_progress);
  const std::vector<std::string> targets =
      report.dry_run ? std::vector<std::string>() : TargetsOf(notify, HasProblems(report));
  RETURN_IF_ERROR(state.EndRun(report, targets));
  return report;
}

}  // namespace understudy::control
