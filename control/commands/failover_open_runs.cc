// What is done with runs that are there: gone on with, cleaned up after, given up, listed, reported.
#include <fmt/format.h>

#include <ostream>

#include "absl/strings/str_join.h"
#include "control/commands/commands.h"
#include "control/commands/failover_drive.h"
#include "control/commands/failover_site.h"
#include "control/commands/failover_view.h"
#include "control/commands/stop_on_signal.h"
#include "control/failover/plan_steps.h"
#include "control/report/failover_render.h"
#include "control/report/failover_report.h"
#include "core/base/clock.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

// A run that is there, the lease of its plan, and the steps that it was begun with.
struct TakenUp {
  RunRecord run;
  PlanLease lease;
  std::unique_ptr<FailoverSite> site;
  Engine::Steps steps;
};

// `id`, or the newest run that is open; a rehearsal where only that may be meant.
absl::StatusOr<std::string> OpenRun(RunStore& store, const std::string& id, bool rehearsal) {
  if (!id.empty()) return id;
  ASSIGN_OR_RETURN(const std::vector<RunRecord> runs, store.List());
  for (const RunRecord& run : runs) {
    if (!run.over && (!rehearsal || run.spec.mode == RunMode::kTest)) return run.spec.id;
  }
  return absl::NotFoundError(rehearsal ? "no rehearsal is open" : "no run is open");
}

absl::StatusOr<TakenUp> TakeUp(const config::ControlConfig& config, RunStore& store, const std::string& id) {
  ASSIGN_OR_RETURN(RunRecord run, store.Read(id));
  if (run.over) {
    return absl::FailedPreconditionError(
        fmt::format("run {} is over ({}): there is nothing to go on with", run.spec.id, ToString(run.state)));
  }
  ASSIGN_OR_RETURN(PlanLease lease, store.Lease(LeaseNameOf(run.spec)));
  ASSIGN_OR_RETURN(config::FailoverPlanConfig plan, FindPlan(config, run.spec.plan));
  plan.namespaces = run.spec.namespaces;
  plan.volumes = run.spec.volumes;
  ASSIGN_OR_RETURN(std::unique_ptr<FailoverSite> site, FailoverSite::Open(config, plan, run.spec.mode));
  ASSIGN_OR_RETURN(const std::filesystem::path folder, store.WorkFolder(run.spec.id));
  Engine::Steps steps = StepsFor(*site, store, run.spec.id, folder);
  std::vector<std::string> recorded;
  for (const StepRecord& step : run.steps) recorded.push_back(step.name);
  if (recorded != NamesOf(steps)) {
    return absl::FailedPreconditionError(
        fmt::format("run {} was begun with other steps ({}) than the plan has now: undo what was changed in the plan's "
                    "`restore` and in `clusters`",
                    run.spec.id, absl::StrJoin(recorded, ", ")));
  }
  RETURN_IF_ERROR(store.TakeUp(run.spec.id));
  return TakenUp{std::move(run), std::move(lease), std::move(site), std::move(steps)};
}

ExitCode GoOn(const Console& console, OutputFormat format, const config::ControlConfig& config, const std::string& id,
              bool only_removal) {
  if (const absl::Status log = SetUpLog("error"); !log.ok()) return Fail(console, log);
  const StopOnSignal stop;
  const absl::StatusOr<std::unique_ptr<RunStore>> store = RunStore::OpenPresent(config.state_dir);
  if (!store.ok()) return Fail(console, store.status());
  const absl::StatusOr<std::string> chosen = OpenRun(**store, id, only_removal);
  if (!chosen.ok()) return Fail(console, chosen.status());
  const absl::StatusOr<TakenUp> taken = TakeUp(config, **store, *chosen);
  if (!taken.ok()) return Fail(console, taken.status());
  if (only_removal && taken->run.spec.mode != RunMode::kTest) {
    return Fail(console, absl::FailedPreconditionError(
                             fmt::format("run {} is no rehearsal: nothing of it is removed", taken->run.spec.id)));
  }
  const std::string& run = taken->run.spec.id;
  const absl::Status noted = (*store)->Note(run, Clock::System().Now(),
                                            fmt::format("{} by {}", only_removal ? "removed" : "resumed", WhoAmI()));
  if (!noted.ok()) return Fail(console, noted);
  return Drive(console, format, config, **store, run, taken->steps, only_removal, stop.Token());
}

absl::Status Abort(RunStore& store, const RunRecord& run) {
  const absl::Time now = Clock::System().Now();
  RETURN_IF_ERROR(store.EndRun(run.spec.id, {.state = RunState::kAborted, .error = run.error, .at = now}));
  return store.Note(run.spec.id, now, fmt::format("aborted by {}", WhoAmI()));
}

}  // namespace

ExitCode RunFailoverResume(const Console& console, OutputFormat format, const config::ControlConfig& config,
                           const std::string& run) {
  return GoOn(console, format, config, run, /*only_removal=*/false);
}

ExitCode RunFailoverClean(const Console& console, OutputFormat format, const config::ControlConfig& config,
                          const std::string& run) {
  return GoOn(console, format, config, run, /*only_removal=*/true);
}

ExitCode RunFailoverAbort(const Console& console, OutputFormat format, const config::ControlConfig& config,
                          const std::string& run, bool yes) {
  const absl::StatusOr<std::unique_ptr<RunStore>> store = RunStore::OpenPresent(config.state_dir);
  if (!store.ok()) return Fail(console, store.status());
  const absl::StatusOr<RunRecord> record = (*store)->Read(run);
  if (!record.ok()) return Fail(console, record.status());
  if (record->over) {
    return Fail(console, absl::FailedPreconditionError(
                             fmt::format("run {} is over ({})", record->spec.id, ToString(record->state))));
  }
  if (record->spec.mode == RunMode::kTest) {
    return Fail(console,
                absl::FailedPreconditionError(fmt::format(
                    "a rehearsal is ended by `drctl failover clean {}`, which removes what it made", record->spec.id)));
  }
  const absl::StatusOr<PlanLease> lease = (*store)->Lease(LeaseNameOf(record->spec));
  if (!lease.ok()) return Fail(console, lease.status());
  if (!yes) {
    std::string stays;
    for (const Advice& advice : BuildFailoverReport(*record, Clock::System().Now()).stays) {
      stays += fmt::format("\n  {}{}", Printable(advice.text), advice.command.empty() ? "" : ": " + advice.command);
    }
    const absl::Status agreed =
        AskForYes(console, fmt::format("give up run {}; {}", record->spec.id,
                                       stays.empty() ? "nothing was changed by it" : "what it did stays:" + stays));
    if (!agreed.ok()) return Fail(console, agreed);
  }
  const absl::Status ended = Abort(**store, *record);
  if (!ended.ok()) return Fail(console, ended);
  const absl::StatusOr<RunRecord> aborted = (*store)->Read(record->spec.id);
  if (!aborted.ok()) return Fail(console, aborted.status());
  Conclude(console, format, config, *aborted, {});
  return ExitCode::kDone;
}

ExitCode RunFailoverList(const Console& console, OutputFormat format, const config::ControlConfig& config) {
  const absl::StatusOr<std::unique_ptr<RunStore>> store = RunStore::OpenPresent(config.state_dir);
  if (!store.ok() && !absl::IsNotFound(store.status())) return Fail(console, store.status());
  std::vector<RunRecord> runs;
  if (store.ok()) {
    absl::StatusOr<std::vector<RunRecord>> known = (*store)->List();
    if (!known.ok()) return Fail(console, known.status());
    runs = *std::move(known);
  }
  Print(console, format, RunsDocument(runs), RunsTable(runs));
  return ExitCode::kDone;
}

ExitCode RunFailoverReport(const Console& console, OutputFormat format, const config::ControlConfig& config,
                           const RunReportOptions& options) {
  const absl::StatusOr<std::unique_ptr<RunStore>> store = RunStore::OpenPresent(config.state_dir);
  if (!store.ok()) return Fail(console, store.status());
  const absl::StatusOr<RunRecord> run = (*store)->Read(options.run);
  if (!run.ok()) return Fail(console, run.status());
  const FailoverReport report = BuildFailoverReport(*run, Clock::System().Now());
  switch (options.format) {
    case ReportFormat::kText:
      Print(console, format, ToJson(report), RenderText(report));
      break;
    case ReportFormat::kJson:
      Print(console, OutputFormat::kJson, ToJson(report), "");
      break;
    case ReportFormat::kHtml:
      Print(console, OutputFormat::kTable, {}, RenderHtml(report));
      break;
  }
  return ExitCode::kDone;
}

}  // namespace understudy::control
