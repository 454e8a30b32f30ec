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
#include "control/runs/open_runs.h"
#include "core/base/clock.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

// A run that is there, the lease of its plan, and its steps: those that it was begun with, or only the removal.
struct TakenUp {
  std::string run;
  bool only_removal = false;
  PlanLease lease;
  std::unique_ptr<FailoverSite> site;
  Engine::Steps steps;
};

struct Leased {
  RunRecord run;
  PlanLease lease;
};

absl::Status CheckOpen(const RunRecord& run) {
  if (!run.over) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("run {} is over ({}): there is nothing to go on with", run.spec.id, ToString(run.state)));
}

// The open run as it is once nobody else works on it.
absl::StatusOr<Leased> Lease(RunStore& store, const std::string& id) {
  ASSIGN_OR_RETURN(const RunRecord found, store.Read(id));
  RETURN_IF_ERROR(CheckOpen(found));
  ASSIGN_OR_RETURN(PlanLease lease, store.Lease(LeaseNameOf(found.spec)));
  ASSIGN_OR_RETURN(RunRecord run, store.Read(found.spec.id));
  RETURN_IF_ERROR(CheckOpen(run));
  return Leased{std::move(run), std::move(lease)};
}

absl::Status CheckRehearsal(const RunRecord& run) {
  if (run.spec.mode == RunMode::kTest) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("run {} is no rehearsal: nothing of it is removed. `drctl failover abort {}` gives it up",
                  run.spec.id, run.spec.id));
}

absl::StatusOr<config::FailoverPlanConfig> PlanAsBegun(const config::ControlConfig& config, const RunSpec& spec) {
  ASSIGN_OR_RETURN(config::FailoverPlanConfig plan, FindPlan(config, spec.plan));
  plan.namespaces = spec.namespaces;
  plan.volumes = spec.volumes;
  return plan;
}

// What a rehearsal made is found by what its record says, whether or not the plan is there still and whatever it says
// by now. Backups are needed only where something was restored: there are Restores to be deleted then.
config::FailoverPlanConfig PlanForRemoval(const config::ControlConfig& config, const RunRecord& run) {
  config::FailoverPlanConfig plan = FindPlan(config, run.spec.plan).value_or(config::FailoverPlanConfig{});
  plan.name = run.spec.plan;
  plan.namespaces = run.spec.namespaces;
  plan.volumes = run.spec.volumes;
  const StepRecord* const restore = run.Find("restore");
  const bool restored = restore != nullptr && restore->begun_at.has_value();
  plan.restore = restored ? config::RestoreFrom::kVelero : config::RestoreFrom::kNothing;
  return plan;
}

absl::Status KeepRemoval(const RunRecord& run, Engine::Steps& steps) {
  std::erase_if(steps, [](const std::unique_ptr<Step>& step) { return !step->RunsAfterFailure(); });
  if (steps.size() == 1 && run.Find(steps.front()->name()) != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("run {} was begun without a step that removes it", run.spec.id));
}

absl::Status CheckSteps(const RunRecord& run, const Engine::Steps& steps) {
  std::vector<std::string> recorded;
  for (const StepRecord& step : run.steps) recorded.push_back(step.name);
  if (recorded == NamesOf(steps)) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "run {} was begun with other steps ({}) than the plan has now: undo what was changed in the plan's "
      "`restore` and in `clusters`{}",
      run.spec.id, absl::StrJoin(recorded, ", "),
      run.spec.mode == RunMode::kTest ? fmt::format(", or remove it with `drctl failover clean {}`", run.spec.id)
                                      : ""));
}

absl::StatusOr<TakenUp> TakeUp(const config::ControlConfig& config, RunStore& store, Leased leased, bool only_removal,
                               std::stop_token stop) {
  const RunRecord& run = leased.run;
  config::FailoverPlanConfig plan;
  if (only_removal) {
    plan = PlanForRemoval(config, run);
  } else {
    ASSIGN_OR_RETURN(plan, PlanAsBegun(config, run.spec));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<FailoverSite> site,
                   FailoverSite::Open(config, plan, run.spec.mode, std::move(stop), &run));
  ASSIGN_OR_RETURN(const std::filesystem::path folder, store.WorkFolder(run.spec.id));
  Engine::Steps steps = StepsFor(*site, store, run.spec.id, folder);
  RETURN_IF_ERROR(only_removal ? KeepRemoval(run, steps) : CheckSteps(run, steps));
  RETURN_IF_ERROR(store.TakeUp(run.spec.id));
  return TakenUp{run.spec.id, only_removal, std::move(leased.lease), std::move(site), std::move(steps)};
}

// `id`, or the open run that is meant.
absl::StatusOr<TakenUp> Find(const config::ControlConfig& config, RunStore& store, std::string id, bool only_removal,
                             std::stop_token stop) {
  if (id.empty()) {
    ASSIGN_OR_RETURN(const std::vector<RunRecord> runs, store.List());
    ASSIGN_OR_RETURN(id, ChooseOpenRun(runs, /*only_rehearsals=*/only_removal));
  }
  if (only_removal) {
    ASSIGN_OR_RETURN(const RunRecord run, store.Read(id));
    RETURN_IF_ERROR(CheckRehearsal(run));
  }
  ASSIGN_OR_RETURN(Leased leased, Lease(store, id));
  only_removal = only_removal || RemovalHasBegun(leased.run);
  return TakeUp(config, store, std::move(leased), only_removal, std::move(stop));
}

ExitCode GoOn(const Console& console, OutputFormat format, const config::ControlConfig& config, const std::string& id,
              bool only_removal) {
  if (const absl::Status log = SetUpLog("error"); !log.ok()) return Fail(console, log);
  const StopOnSignal stop;
  const absl::StatusOr<std::unique_ptr<RunStore>> store = RunStore::OpenPresent(config.state_dir);
  if (!store.ok()) return Fail(console, store.status());
  const absl::StatusOr<TakenUp> taken = Find(config, **store, id, only_removal, stop.Token());
  if (!taken.ok()) return Fail(console, taken.status());
  if (taken->only_removal && !only_removal) {
    console.err << fmt::format("the removal of run {} has begun: it can only be removed", taken->run) << std::endl;
  }
  const absl::Status noted =
      (*store)->Note(taken->run, Clock::System().Now(),
                     fmt::format("{} by {}", taken->only_removal ? "removed" : "resumed", WhoAmI()));
  if (!noted.ok()) return Fail(console, noted);
  return Drive(console, format, config, **store, taken->run, taken->steps, taken->only_removal, stop.Token());
}

absl::Status AskAbout(const Console& console, const RunRecord& run) {
  std::string stays;
  for (const Advice& advice : BuildFailoverReport(run, Clock::System().Now()).stays) {
    stays += fmt::format("\n  {}{}", Printable(advice.text), advice.command.empty() ? "" : ": " + advice.command);
  }
  return AskForYes(console, fmt::format("give up run {}; {}", run.spec.id,
                                        stays.empty() ? "nothing was changed by it" : "what it did stays:" + stays));
}

// What was fetched goes first: once the run is over nobody would come back for it.
absl::Status Abort(RunStore& store, const RunRecord& run) {
  const absl::Time now = Clock::System().Now();
  RETURN_IF_ERROR(store.RemoveWorkFolder(run.spec.id));
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
  const absl::StatusOr<Leased> leased = Lease(**store, run);
  if (!leased.ok()) return Fail(console, leased.status());
  const RunRecord& record = leased->run;
  if (record.spec.mode == RunMode::kTest) {
    return Fail(console,
                absl::FailedPreconditionError(fmt::format(
                    "a rehearsal is ended by `drctl failover clean {}`, which removes what it made", record.spec.id)));
  }
  if (!yes) {
    if (const absl::Status agreed = AskAbout(console, record); !agreed.ok()) return Fail(console, agreed);
  }
  const absl::Status ended = Abort(**store, record);
  if (!ended.ok()) return Fail(console, ended);
  const absl::StatusOr<RunRecord> aborted = (*store)->Read(record.spec.id);
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
