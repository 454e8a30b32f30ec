#include "agent-dr/app.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agent-dr/catalog/catalog_store.h"
#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/hooks/hook_runner.h"
#include "agent-dr/receive/replication_service.h"
#include "agent-dr/service/catalog_service.h"
#include "agent-dr/service/metrics.h"
#include "agent-dr/service/replica_service.h"
#include "agent-dr/service/standby_service.h"
#include "agent-dr/standby/promoter.h"
#include "core/base/log.h"
#include "core/daemon/version.h"
#include "core/net/rpc_server.h"
#include "core/telemetry/metrics_server.h"
#include "core/wire/limits.h"

namespace understudy::dr {
namespace {

// Between looks at what has expired in the trash.
constexpr absl::Duration kTrashInterval = absl::Minutes(1);
constexpr absl::Duration kStopGrace = absl::Seconds(2);
// Of grpc.health.v1.Health, besides "": SERVING while the service takes calls.
constexpr char kReplicationHealth[] = "understudy.v1.Replication";
constexpr char kCatalogHealth[] = "understudy.v1.Catalog";

wire::Handshake OurHandshake() {
  std::array<char, wire::kMaxHostBytes + 1> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return {wire::kProtocolVersion, std::string(daemon::SoftwareVersion()), host.data()};
}

}  // namespace

struct DrAgent::Parts {
  std::unique_ptr<CommitEngine> engine;
  std::unique_ptr<CatalogStore> catalog;
  NoExports exports;
  std::unique_ptr<HookRunner> hooks;
  std::unique_ptr<Promoter> promoter;
  std::vector<std::unique_ptr<grpc::Service>> services;
  std::unique_ptr<net::RpcServer> server;
  std::unique_ptr<telemetry::MetricsServer> metrics;
  std::jthread trash_keeper;

  void KeepTrash(std::stop_token stop) const {
    while (!stop.stop_requested()) {
      engine->trash().Work(stop);
      engine->trash().WaitForWork(stop, kTrashInterval);
    }
  }
};

absl::StatusOr<std::unique_ptr<DrAgent>> DrAgent::Start(const config::DrConfig& config) {
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  RETURN_IF_ERROR(net::CheckTlsFiles(tls, net::Role::kDr));
  auto parts = std::make_unique<Parts>();

  CommitEngineOptions options{.state_dir = config.state_dir.string(),
                              .points = {config.points.keep_for, config.points.max_bytes}};
  options.trash_retain = config.trash.retain;
  for (const config::DrExport& exported : config.exports) options.exports.push_back(exported.path.string());
  ASSIGN_OR_RETURN(parts->engine, CommitEngine::Start(std::move(options)));
  for (const std::string& problem : parts->engine->Problems()) spdlog::error("{}", problem);
  ASSIGN_OR_RETURN(parts->catalog, CatalogStore::Open((config.state_dir / "catalog.db").string()));

  parts->services.push_back(MakeReplicationService(*parts->engine, OurHandshake()));
  parts->services.push_back(MakeReplicaService(*parts->engine));
  parts->hooks = std::make_unique<HookRunner>(HookOptions{config.hooks.dir.string(), config.hooks.timeout});
  parts->promoter = std::make_unique<Promoter>(*parts->engine, parts->exports, *parts->hooks);
  parts->services.push_back(MakeStandbyService(*parts->promoter));
  parts->services.push_back(MakeCatalogService(*parts->catalog));
  std::vector<grpc::Service*> services;
  for (const auto& service : parts->services) services.push_back(service.get());
  ASSIGN_OR_RETURN(parts->server, net::RpcServer::Start(config.listen, tls, net::Role::kDr, services));
  parts->server->SetServing(kReplicationHealth, true);
  parts->server->SetServing(kCatalogHealth, true);

  const auto registry = telemetry::MakeRegistry("understudy-dr", std::string(daemon::SoftwareVersion()));
  ASSIGN_OR_RETURN(parts->metrics,
                   telemetry::MetricsServer::Start(
                       config.metrics_listen, std::make_shared<DrMetrics>(registry, *parts->engine, *parts->catalog),
                       [engine = parts->engine.get()] { return engine->Usable(); }));
  parts->trash_keeper = std::jthread([raw = parts.get()](std::stop_token stop) { raw->KeepTrash(stop); });
  return std::unique_ptr<DrAgent>(new DrAgent(std::move(parts)));
}

DrAgent::DrAgent(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

DrAgent::~DrAgent() {
  Stop();
}

// Both take the locks that the work is done under: when they can be had, nothing is stuck.
absl::Status DrAgent::Liveness() {
  (void)parts_->engine->List();
  return absl::OkStatus();
}

std::string DrAgent::StatusLine() {
  const absl::Status usable = parts_->engine->Usable();
  if (!usable.ok()) return std::string(MessageOf(usable));
  return fmt::format("{} replicas", parts_->engine->List().size());
}

void DrAgent::Stop() {
  parts_->metrics.reset();
  parts_->trash_keeper = {};
  if (parts_->server != nullptr) parts_->server->Shutdown(kStopGrace);
  // Whatever a commit was in the middle of, the next start finishes or discards.
  parts_->server.reset();
  parts_->services.clear();
}

int DrAgent::port() const {
  return parts_->server->port();
}
int DrAgent::metrics_port() const {
  return parts_->metrics->port();
}

}  // namespace understudy::dr
