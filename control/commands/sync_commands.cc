#include <fmt/format.h>

#include <ostream>

#include "control/commands/commands.h"
#include "control/commands/stop_on_signal.h"
#include "control/commands/sync_service.h"
#include "control/commands/sync_view.h"
#include "control/report/notify.h"
#include "control/report/outbox.h"
#include "control/report/render.h"
#include "core/base/clock.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

// A line on a terminal that is written anew, and a line for each tenth of the way elsewhere.
constexpr size_t kProgressSteps = 10;

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

class ProgressPrinter {
 public:
  explicit ProgressPrinter(const Console& console) : console_(console) {}

  void operator()(const RunProgress& now) {
    const size_t step = now.total > 0 ? now.done * kProgressSteps / now.total : 0;
    const bool news = now.phase != phase_ || step != step_;
    if (!console_.err_is_terminal && !news) return;
    phase_ = now.phase;
    step_ = step;
    const std::string line = now.total > 0 ? fmt::format("{}: {} of {}{}", now.phase, now.done, now.total,
                                                         now.failed > 0 ? fmt::format(", {} failed", now.failed) : "")
                                           : now.phase;
    console_.err << (console_.err_is_terminal ? "\r\033[K" : "drctl: ") << line
                 << (console_.err_is_terminal ? "" : "\n") << std::flush;
  }
  void End() const {
    if (console_.err_is_terminal) console_.err << "\r\033[K" << std::flush;
  }

 private:
  const Console& console_;
  std::string phase_;
  size_t step_ = 0;
};

}  // namespace

ExitCode RunSyncRun(const Console& console, OutputFormat format, const config::ControlConfig& config,
                    const SyncRunOptions& options) {
  // The report says everything; what is logged mustn't stand between its lines.
  if (const absl::Status log = SetUpLog("error"); !log.ok()) return Fail(console, log);
  const StopOnSignal stop;
  const absl::StatusOr<std::unique_ptr<SyncEngine>> engine = SyncEngine::Create(config);
  if (!engine.ok()) return Fail(console, engine.status());
  const absl::StatusOr<std::unique_ptr<SyncState>> state = SyncState::Open(config.state_dir);
  if (!state.ok()) return Fail(console, state.status());
  ProgressPrinter progress(console);
  absl::StatusOr<Report> report = absl::UnknownError("not run");
  {
    const absl::StatusOr<RunLease> lease = (*state)->Lease();
    if (!lease.ok()) return Fail(console, lease.status());
    const SyncRequest request{
        .dry_run = options.dry_run, .namespaces = options.namespaces, .accept_cluster = options.accept_cluster};
    report = (*engine)->Run(*lease, request, **state, stop.Token(), [&](const RunProgress& now) { progress(now); });
  }
  progress.End();
  if (!report.ok()) return Fail(console, report.status());
  Print(console, format, ToJson(*report), RenderText(*report));
  Notifier notifier(config.notify);
  const absl::Status delivered = DeliverDue(**state, notifier, Clock::System(), stop.Token());
  if (!delivered.ok()) {
    PrintError(console, Annotate(delivered, "the report isn't delivered yet; drctl serve tries again"));
  }
  return report->exit_code;
}

ExitCode RunSyncList(const Console& console, OutputFormat format, const config::ControlConfig& config) {
  const absl::StatusOr<std::unique_ptr<SyncState>> state = SyncState::OpenPresent(config.state_dir);
  if (!state.ok() && !absl::IsNotFound(state.status())) return Fail(console, state.status());
  std::vector<RunSummary> runs;
  if (state.ok()) {
    absl::StatusOr<std::vector<RunSummary>> known = (*state)->Runs();
    if (!known.ok()) return Fail(console, known.status());
    runs = *std::move(known);
  }
  Document documents = Document::array();
  for (const RunSummary& run : runs) documents.push_back(ToDocument(run));
  Print(console, format, {{"runs", std::move(documents)}}, RunsTable(runs));
  return ExitCode::kDone;
}

ExitCode RunSyncReport(const Console& console, OutputFormat format, const config::ControlConfig& config,
                       const SyncReportOptions& options) {
  const absl::StatusOr<std::unique_ptr<SyncState>> state = SyncState::OpenPresent(config.state_dir);
  if (!state.ok()) return Fail(console, state.status());
  const absl::StatusOr<Report> report = (*state)->ReportOf(options.run);
  if (!report.ok()) return Fail(console, report.status());
  switch (options.format) {
    case ReportFormat::kText:
      Print(console, format, ToJson(*report), RenderText(*report));
      break;
    case ReportFormat::kJson:
      Print(console, OutputFormat::kJson, ToJson(*report), "");
      break;
    case ReportFormat::kHtml:
      Print(console, OutputFormat::kTable, {}, RenderHtml(*report));
      break;
  }
  return ExitCode::kDone;
}

}  // namespace understudy::control
