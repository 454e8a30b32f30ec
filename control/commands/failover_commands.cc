#include <fmt/format.h>

#include <istream>
#include <ostream>

#include "absl/strings/str_join.h"
#include "control/commands/commands.h"
#include "control/commands/failover_drive.h"
#include "control/commands/failover_site.h"
#include "control/commands/failover_view.h"
#include "control/commands/stop_on_signal.h"
#include "control/failover/plan_steps.h"
#include "control/runs/dry_run.h"
#include "control/sync/runner.h"
#include "core/base/clock.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

std::string ConsequencesOf(const RunSpec& spec) {
  const std::string what = spec.namespaces.empty() ? absl::StrJoin(spec.volumes, ", ")
                                                   : "namespaces " + absl::StrJoin(spec.namespaces, ", ");
  switch (spec.mode) {
    case RunMode::kUnplanned:
      return fmt::format("the replicas of {} become the live copies as they are: what isn't at DR is lost", what);
    case RunMode::kTest:
      return fmt::format("copies of {} run beside the real ones, and are removed afterwards", what);
    case RunMode::kPlanned:
      return fmt::format("{} stop at the primary and go over to DR", what);
    case RunMode::kFailback:
      return fmt::format("{} stop at DR and go back to the primary", what);
    case RunMode::kReprotect:
      return fmt::format(
          "the live copies of {} are replicated to the other site, whose own data becomes a replica; what "
          "was written there and never got across stays a recovery point",
          what);
  }
  AbortOnBrokenInvariant("known RunMode", __FILE__, __LINE__);
}

// A rehearsal changes nothing that is real, so nobody is asked.
absl::Status Confirm(const Console& console, const RunSpec& spec) {
  if (spec.mode == RunMode::kTest) return absl::OkStatus();
  console.err << fmt::format("Plan {}, {}: {}.\n", spec.plan, ToString(spec.mode), ConsequencesOf(spec));
  if (console.in == nullptr) return absl::FailedPreconditionError("nothing was done; add --yes to do it");
  console.err << "Type the plan's name to go on: " << std::flush;
  std::string answer;
  std::getline(*console.in, answer);
  return answer == spec.plan ? absl::OkStatus() : absl::FailedPreconditionError("nothing was done");
}

RunSpec SpecOf(const FailoverOptions& options, const config::FailoverPlanConfig& plan) {
  const absl::Time now = Clock::System().Now();
  return {.id = NewRunId(now),
          .plan = plan.name,
          .mode = options.mode,
          .namespaces = plan.namespaces,
          .volumes = plan.volumes,
          .backup = options.backup,
          .allow_incomplete = options.incomplete,
          .primary_is_down = options.primary_is_down,
          .keep = options.keep,
          .started_by = WhoAmI(),
          .started_at = now};
}

ExitCode RunDry(const Console& console, OutputFormat format, RunStore& store, FailoverSite& site, const RunSpec& spec,
                std::stop_token stop) {
  const absl::StatusOr<std::filesystem::path> folder = store.WorkFolder(spec.id);
  if (!folder.ok()) return Fail(console, folder.status());
  const Engine::Steps steps = StepsFor(site, store, spec.id, *folder);
  const std::vector<PlannedStep> planned = DryRun({.spec = spec}, steps, std::move(stop));
  const absl::Status removed = store.RemoveWorkFolder(spec.id);
  if (!removed.ok()) PrintError(console, removed);
  Print(console, format, PlanDocument(spec, planned), PlanText(spec, planned));
  return WouldGo(planned) ? ExitCode::kDone : ExitCode::kFailed;
}

}  // namespace

ExitCode RunFailover(const Console& console, OutputFormat format, const config::ControlConfig& config,
                     const FailoverOptions& options) {
  if (const absl::Status log = SetUpLog("error"); !log.ok()) return Fail(console, log);
  const absl::StatusOr<config::FailoverPlanConfig> plan = FindPlan(config, options.plan);
  if (!plan.ok()) return Fail(console, plan.status());
  const RunSpec spec = SpecOf(options, *plan);
  const absl::StatusOr<std::unique_ptr<RunStore>> store = RunStore::Open(config.state_dir);
  if (!store.ok()) return Fail(console, store.status());
  // Asked while Ctrl-C still ends the process: nothing was begun yet.
  if (!options.yes && !options.dry_run) {
    if (const absl::Status confirmed = Confirm(console, spec); !confirmed.ok()) return Fail(console, confirmed);
  }
  const StopOnSignal stop;
  const absl::StatusOr<std::unique_ptr<FailoverSite>> site = FailoverSite::Open(config, *plan, spec.mode, stop.Token());
  if (!site.ok()) return Fail(console, site.status());
  if (options.dry_run) return RunDry(console, format, **store, **site, spec, stop.Token());
  const absl::StatusOr<PlanLease> lease = (*store)->Lease(LeaseNameOf(spec));
  if (!lease.ok()) return Fail(console, lease.status());
  const absl::StatusOr<std::filesystem::path> folder = (*store)->WorkFolder(spec.id);
  if (!folder.ok()) return Fail(console, folder.status());
  const Engine::Steps steps = StepsFor(**site, **store, spec.id, *folder);
  if (const absl::Status begun = (*store)->Begin(spec, NamesOf(steps)); !begun.ok()) {
    if (const absl::Status removed = (*store)->RemoveWorkFolder(spec.id); !removed.ok()) PrintError(console, removed);
    return Fail(console, begun);
  }
  const absl::Status noted = (*store)->Note(spec.id, spec.started_at, fmt::format("begun by {}", spec.started_by));
  if (!noted.ok()) return Fail(console, noted);
  console.err << fmt::format("run {} of plan {}, {}", spec.id, spec.plan, ToString(spec.mode)) << std::endl;
  return Drive(console, format, config, **store, spec.id, steps, /*only_removal=*/false, stop.Token());
}

}  // namespace understudy::control
