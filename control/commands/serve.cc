#include <spdlog/spdlog.h>

#include "control/commands/commands.h"
#include "control/commands/outbox_service.h"
#include "control/commands/serve_metrics.h"
#include "control/commands/standby_service.h"
#include "control/commands/sync_service.h"
#include "core/base/log.h"
#include "core/daemon/service_loop.h"
#include "core/daemon/service_manager.h"
#include "core/daemon/signals.h"
#include "core/daemon/version.h"
#include "core/telemetry/metrics_server.h"

namespace understudy::control {
namespace {

absl::Status Serve(const config::ControlConfig& config) {
  RETURN_IF_ERROR(SetUpLog(config::ToString(config.log_level)));
  daemon::SignalGate signals;
  const daemon::ServiceManager manager;
  manager.Status("starting");
  ASSIGN_OR_RETURN(const std::unique_ptr<StandbyService> standby, StandbyService::Start(config));
  ASSIGN_OR_RETURN(const std::unique_ptr<SyncService> sync, SyncService::Start(config));
  ASSIGN_OR_RETURN(const std::unique_ptr<OutboxService> outbox, OutboxService::Start(config));
  const auto metrics = std::make_shared<ServeMetrics>(
      telemetry::MakeRegistry("drctl", std::string(daemon::SoftwareVersion())), [&] { return standby->Statuses(); },
      [&]() -> std::optional<SyncService::Status> {
        if (sync == nullptr) return std::nullopt;
        return sync->Now();
      });
  ASSIGN_OR_RETURN(const auto metrics_server, telemetry::MetricsServer::Start(config.metrics_listen, metrics,
                                                                              [&] { return standby->Readiness(); }));
  spdlog::info("drctl {} serves, pairs={}", daemon::SoftwareVersion(), config.pairs.size());
  daemon::RunUntilStopped(
      signals, manager,
      {.liveness = [] { return absl::OkStatus(); }, .status_line = [&] { return standby->StatusLine(); }});
  spdlog::info("stopping");
  return absl::OkStatus();
}

}  // namespace

ExitCode RunServe(const Console& console, const config::ControlConfig& config) {
  const absl::Status status = Serve(config);
  if (!status.ok()) PrintError(console, status);
  return ExitCodeFor(status);
}

}  // namespace understudy::control
