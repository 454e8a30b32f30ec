#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <istream>
#include <ostream>

#include "absl/strings/str_join.h"
#include "control/commands/commands.h"
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

// Who is asked for in an audit: the person behind sudo, if there is one.
std::string WhoAmI() {
  const char* const sudo_user = std::getenv("SUDO_USER");  // NOLINT(concurrency-mt-unsafe): no thread changes it
  std::string user = sudo_user == nullptr ? "" : sudo_user;
  if (user.empty()) {
    const passwd* const entry = getpwuid(geteuid());  // NOLINT(concurrency-mt-unsafe): before any other thread
    user = entry == nullptr ? std::to_string(geteuid()) : entry->pw_name;
  }
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) return user;
  return fmt::format("{}@{}", user, host.data());
}

// A rehearsal and a real run don't wait for each other.
std::string LeaseNameOf(const RunSpec& spec) {
  return spec.mode == RunMode::kTest ? spec.plan + ".test" : spec.plan;
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
    case RunMode::kReprotect:
    case RunMode::kFailback:
      return fmt::format("{} stop at the primary and go over to DR", what);
  }
  AbortOnBrokenInvariant("known RunMode", __FILE__, __LINE__);
}

// A rehearsal changes nothing that is real, so nobody is asked.
absl::Status Confirm(const Console& console, const RunSpec& spec) {
  if (spec.mode == RunMode::kTest) return absl::OkStatus();
  console.err << fmt::format("Failover of plan {} ({}): {}.\n", spec.plan, ToString(spec.mode), ConsequencesOf(spec));
  if (console.in == nullptr) return absl::FailedPreconditionError("nothing was done; add --yes to do it");
  console.err << "Type the plan's name to go on: " << std::flush;
  std::string answer;
  std::getline(*console.in, answer);
  return answer == spec.plan ? absl::OkStatus() : absl::FailedPreconditionError("nothing was done");
}

// What is to be done next with a run that isn't over.
std::string AdviceFor(const RunRecord& run) {
  if (run.over) return "";
  if (run.spec.mode == RunMode::kTest) {
    return fmt::format("what the rehearsal made is still there: `drctl failover clean {}` removes it\n", run.spec.id);
  }
  return fmt::format("mend that, then `drctl failover resume {}`; `drctl failover abort {}` gives it up\n", run.spec.id,
                     run.spec.id);
}

ExitCode PrintEnd(const Console& console, OutputFormat format, const RunRecord& run) {
  const std::string text = fmt::format("run {} of plan {}: {}{}\n{}", run.spec.id, run.spec.plan, ToString(run.state),
                                       run.error.empty() ? "" : ": " + Printable(run.error), AdviceFor(run));
  Document document = RunsDocument({run})["runs"][0];
  Print(console, format, document, text);
  return ExitCodeOf(run);
}

// Goes on with `run`, which this process has the lease of.
ExitCode Drive(const Console& console, OutputFormat format, const config::ControlConfig& config, RunStore& store,
               const std::string& run_id, const Engine::Steps& steps, bool only_removal, std::stop_token stop) {
  const absl::StatusOr<RunRecord> run = store.Read(run_id);
  if (!run.ok()) return Fail(console, run.status());
  RunProgressPrinter printer(console);
  Engine engine(store, {.parallelism = static_cast<int>(config.failover.parallelism), .only_removal = only_removal},
                Clock::System(), [&](const RunEvent& event) { printer(event); });
  const absl::StatusOr<RunRecord> ended = engine.Run(*run, steps, std::move(stop));
  printer.End();
  if (!ended.ok()) {
    return Fail(console,
                Annotate(ended.status(), fmt::format("run {} can't be recorded, so it isn't going on", run_id)));
  }
  return PrintEnd(console, format, *ended);
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
          .keep = options.keep,
          .started_by = WhoAmI(),
          .started_at = now};
}

Engine::Steps StepsFor(FailoverSite& site, RunStore& store, const std::string& run,
                       const std::filesystem::path& folder) {
  return site.MakeSteps(folder, [&store, run] { return store.RemoveWorkFolder(run); });
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

// What was done and stays, and the command that takes it back.
std::string WhatStays(const RunRecord& run) {
  std::string text;
  const auto add = [&](std::string_view step, const std::function<std::string(const std::string& key)>& line) {
    const StepRecord* const record = run.Find(step);
    if (record == nullptr) return;
    for (const ItemRecord& item : record->items) {
      if (item.attempts > 0 && item.state != ItemState::kAlready) text += "  " + Printable(line(item.key)) + "\n";
    }
  };
  const auto volume_of = [](const std::string& key) { return key.substr(key.find('/') + 1); };
  add("stop-vms",
      [](const std::string& key) { return fmt::format("{} was shut down: virtctl start brings it back", key); });
  add("fence", [&](const std::string& key) {
    return fmt::format("{} is read-only at the primary: drctl exports set --site primary {} rw", key, volume_of(key));
  });
  add("pause", [&](const std::string& key) {
    return fmt::format("{} isn't replicated: drctl volumes resume {}", key, volume_of(key));
  });
  add("promote", [&](const std::string& key) {
    return fmt::format("{} is the live copy at DR: drctl volumes demote {}", key, volume_of(key));
  });
  add("restore", [](const std::string&) { return std::string("what was restored at DR stays there"); });
  add("boot", [](const std::string& key) { return fmt::format("{} was started at DR", key); });
  return text;
}

}  // namespace

ExitCode RunFailover(const Console& console, OutputFormat format, const config::ControlConfig& config,
                     const FailoverOptions& options) {
  if (const absl::Status log = SetUpLog("error"); !log.ok()) return Fail(console, log);
  const absl::StatusOr<config::FailoverPlanConfig> plan = FindPlan(config, options.plan);
  if (!plan.ok()) return Fail(console, plan.status());
  const RunSpec spec = SpecOf(options, *plan);
  const StopOnSignal stop;
  const absl::StatusOr<std::unique_ptr<RunStore>> store = RunStore::Open(config.state_dir);
  if (!store.ok()) return Fail(console, store.status());
  const absl::StatusOr<std::unique_ptr<FailoverSite>> site = FailoverSite::Open(config, *plan, spec.mode);
  if (!site.ok()) return Fail(console, site.status());
  if (options.dry_run) return RunDry(console, format, **store, **site, spec, stop.Token());
  if (!options.yes) {
    if (const absl::Status confirmed = Confirm(console, spec); !confirmed.ok()) return Fail(console, confirmed);
  }
  const absl::StatusOr<PlanLease> lease = (*store)->Lease(LeaseNameOf(spec));
  if (!lease.ok()) return Fail(console, lease.status());
  const absl::StatusOr<std::filesystem::path> folder = (*store)->WorkFolder(spec.id);
  if (!folder.ok()) return Fail(console, folder.status());
  const Engine::Steps steps = StepsFor(**site, **store, spec.id, *folder);
  absl::Status begun = (*store)->Begin(spec, NamesOf(steps));
  if (begun.ok()) begun = (*store)->Note(spec.id, spec.started_at, fmt::format("begun by {}", spec.started_by));
  if (!begun.ok()) return Fail(console, begun);
  console.err << fmt::format("run {} of plan {}, {}", spec.id, spec.plan, ToString(spec.mode)) << std::endl;
  return Drive(console, format, config, **store, spec.id, steps, /*only_removal=*/false, stop.Token());
}

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
  const std::string stays = WhatStays(*record);
  if (!yes) {
    const absl::Status agreed =
        AskForYes(console, fmt::format("give up run {}; {}", record->spec.id,
                                       stays.empty() ? "nothing was changed by it" : "what it did stays:\n" + stays));
    if (!agreed.ok()) return Fail(console, agreed);
  }
  const absl::Time now = Clock::System().Now();
  absl::Status ended =
      (*store)->EndRun(record->spec.id, {.state = RunState::kAborted, .error = record->error, .at = now});
  if (ended.ok()) ended = (*store)->Note(record->spec.id, now, fmt::format("aborted by {}", WhoAmI()));
  if (!ended.ok()) return Fail(console, ended);
  Print(console, format, {{"run", record->spec.id}, {"state", "aborted"}, {"stays", stays}},
        fmt::format("run {} is given up{}\n{}", record->spec.id, stays.empty() ? "" : "; what it did stays:", stays));
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

}  // namespace understudy::control
