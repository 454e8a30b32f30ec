#include "control/commands/failover_drive.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <ostream>

#include "control/commands/failover_view.h"
#include "control/report/failover_render.h"
#include "control/report/failover_report.h"
#include "control/report/notify.h"
#include "control/report/outbox.h"
#include "control/sync/state.h"
#include "core/base/clock.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

// Those who are to hear of it may be out of reach now: then `drctl serve` tries again.
absl::Status Send(const config::ControlConfig& config, const FailoverReport& report, std::stop_token stop) {
  if (!config.notify.email && config.notify.webhooks.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<SyncState> outbox, SyncState::Open(config.state_dir));
  RETURN_IF_ERROR(QueueFailoverReport(*outbox, config.notify, report));
  Notifier notifier(config.notify);
  return DeliverDue(*outbox, notifier, Clock::System(), std::move(stop));
}

}  // namespace

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

std::string LeaseNameOf(const RunSpec& spec) {
  return spec.mode == RunMode::kTest ? spec.plan + ".test" : spec.plan;
}

Engine::Steps StepsFor(FailoverSite& site, RunStore& store, const std::string& run,
                       const std::filesystem::path& folder) {
  return site.MakeSteps(folder, [&store, run] { return store.RemoveWorkFolder(run); });
}

void Conclude(const Console& console, OutputFormat format, const config::ControlConfig& config, const RunRecord& run,
              std::stop_token stop) {
  const FailoverReport report = BuildFailoverReport(run, Clock::System().Now());
  Print(console, format, ToJson(report), RenderText(report));
  const absl::Status sent = Send(config, report, std::move(stop));
  if (!sent.ok()) PrintError(console, Annotate(sent, "the report isn't delivered yet; drctl serve tries again"));
}

ExitCode Drive(const Console& console, OutputFormat format, const config::ControlConfig& config, RunStore& store,
               const std::string& run_id, const Engine::Steps& steps, bool only_removal, std::stop_token stop) {
  const absl::StatusOr<RunRecord> run = store.Read(run_id);
  if (!run.ok()) {
    PrintError(console, run.status());
    return ExitCodeFor(run.status());
  }
  RunProgressPrinter printer(console);
  Engine engine(store, {.parallelism = static_cast<int>(config.failover.parallelism), .only_removal = only_removal},
                Clock::System(), [&](const RunEvent& event) { printer(event); });
  const absl::StatusOr<RunRecord> ended = engine.Run(*run, steps, stop);
  printer.End();
  if (!ended.ok()) {
    PrintError(console,
               Annotate(ended.status(), fmt::format("run {} can't be recorded, so it isn't going on", run_id)));
    return ExitCodeFor(ended.status());
  }
  // What was fetched holds secrets, and nothing needs it any more.
  const absl::Status removed = ended->over ? store.RemoveWorkFolder(run_id) : absl::OkStatus();
  if (!removed.ok()) PrintError(console, removed);
  Conclude(console, format, config, *ended, std::move(stop));
  if (only_removal) return ended->over ? ExitCode::kDone : ExitCode::kFailed;
  return ExitCodeOf(*ended);
}

}  // namespace understudy::control
