#include "control/commands/sync_view.h"

#include <fmt/format.h>

#include "absl/time/clock.h"
#include "control/sync/cron.h"
#include "control/sync/scheduler.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

std::string Count(const RunSummary& run, const char* outcome) {
  if (!run.counts.is_object() || !run.counts.contains(outcome)) return "-";
  return run.counts[outcome].dump();
}

// When the schedule, kept as the state says, is due next; null when it isn't enabled or isn't well written.
Document NextRun(const config::ControlConfig& config, SyncState& state) {
  if (!config.schedule.enabled) return nullptr;
  const absl::StatusOr<CronSchedule> schedule = ParseSchedule(config.schedule.cron, config.schedule.time_zone);
  if (!schedule.ok()) return nullptr;
  const absl::StatusOr<std::optional<absl::Time>> kept_until = state.ScheduleKeptUntil();
  if (!kept_until.ok() || !*kept_until) return nullptr;
  return Rfc3339(schedule->Next(AfterSettingTheClock(**kept_until, absl::Now())));
}

}  // namespace

Document ToDocument(const RunSummary& run) {
  Document document = {{"run", run.id},
                       {"trigger", std::string(ToString(run.trigger))},
                       {"made_up", run.made_up},
                       {"dry_run", run.dry_run},
                       {"started_at", Rfc3339(run.started_at)},
                       {"ended_at", nullptr},
                       {"seconds", nullptr},
                       {"result", run.result},
                       {"counts", run.counts}};
  if (run.ended_at) {
    document["ended_at"] = Rfc3339(*run.ended_at);
    document["seconds"] = absl::ToDoubleSeconds(*run.ended_at - run.started_at);
  }
  return document;
}

std::string RunsTable(const std::vector<RunSummary>& runs) {
  Table table(
      {"RUN", "TRIGGER", "STARTED", "SECONDS", "RESULT", "SYNCED", "UNCHANGED", "FAILED", "SKIPPED", "CLEANED"});
  for (const RunSummary& run : runs) {
    table.Add({run.id,
               fmt::format("{}{}{}", ToString(run.trigger), run.made_up ? ", made up" : "", run.dry_run ? ", dry" : ""),
               Rfc3339(run.started_at),
               run.ended_at ? fmt::format("{:.1f}", absl::ToDoubleSeconds(*run.ended_at - run.started_at)) : "-",
               run.result, Count(run, "synced"), Count(run, "unchanged"), Count(run, "failed"), Count(run, "skipped"),
               Count(run, "cleaned")});
  }
  return table.Text();
}

Document SyncDocument(const config::ControlConfig& config) {
  if (!config.clusters.primary) return nullptr;
  Document document = {{"enabled", config.schedule.enabled},
                       {"cron", config.schedule.cron},
                       {"time_zone", config.schedule.time_zone},
                       {"next_run_at", nullptr},
                       {"last_run", nullptr},
                       {"pending_deliveries", nullptr}};
  const absl::StatusOr<std::unique_ptr<SyncState>> state = SyncState::OpenPresent(config.state_dir);
  if (!state.ok()) return document;
  document["next_run_at"] = NextRun(config, **state);
  if (const auto runs = (*state)->Runs(); runs.ok() && !runs->empty()) document["last_run"] = ToDocument(runs->front());
  if (const auto pending = (*state)->PendingDeliveries(); pending.ok()) document["pending_deliveries"] = *pending;
  return document;
}

std::string SyncLine(const Document& sync) {
  if (sync.is_null()) return "";
  const Document& last = sync["last_run"];
  const std::string last_text = last.is_null() ? "no run yet"
                                               : fmt::format("last run {} at {}", last["result"].get<std::string>(),
                                                             last["started_at"].get<std::string>());
  const std::string next_text =
      sync["next_run_at"].is_null() ? "" : fmt::format(", next at {}", sync["next_run_at"].get<std::string>());
  return fmt::format("scheduled sync: {}{}\n", last_text, next_text);
}

}  // namespace understudy::control
