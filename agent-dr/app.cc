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
#include "agent-dr/points/point_keeper.h"
#include "agent-dr/points/point_trees.h"
#include "agent-dr/receive/replication_service.h"
#include "agent-dr/service/catalog_service.h"
#include "agent-dr/service/freshness_service.h"
#include "agent-dr/service/metrics.h"
#include "agent-dr/service/points_service.h"
#include "agent-dr/service/replica_service.h"
#include "agent-dr/service/standby_service.h"
#include "agent-dr/service/verify_service.h"
#include "agent-dr/standby/confirmations.h"
#include "agent-dr/standby/export_port.h"
#include "agent-dr/standby/promoter.h"
#include "agent-dr/verify/damage_keeper.h"
#include "agent-dr/verify/probe.h"
#include "agent-dr/verify/scrubber.h"
#include "core/base/log.h"
#include "core/daemon/version.h"
#include "core/exports/configured.h"
#include "core/exports/volume_exports.h"
#include "core/net/rpc_server.h"
#include "core/telemetry/metrics_server.h"
#include "core/wire/exports_service.h"
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

absl::StatusOr<std::unique_ptr<exports::ExportSwitch>> StartExports(const config::DrConfig& config) {
  std::vector<exports::ConfiguredPlace> places;
  for (const config::DrExport& exported : config.exports) places.push_back({exported.path, exported.switching});
  return exports::StartConfigured("understudy-dr", config.state_dir, places, config.knfsd, config.ganesha);
}

std::vector<exports::ExportableVolume> ExportableReplicas(const CommitEngine& engine) {
  std::vector<exports::ExportableVolume> volumes;
  for (const model::ReplicaState& state : engine.List()) {
    volumes.push_back({.name = state.volume, .path = state.root, .why_never_written = ""});
    if (state.state == model::VolumeState::kActive) continue;
    volumes.back().why_never_written = fmt::format(
        "its replica is {}, and what a client wrote would be lost or break it: promote the volume first, or use ro",
        model::ToString(state.state));
  }
  return volumes;
}

// The exports of replicas as a promotion switches them.
class SwitchedExports : public ExportPort {
 public:
  explicit SwitchedExports(exports::ExportSwitch& exports) : exports_(exports) {}
  absl::Status CheckExport(const model::VolumeName& volume, const std::string& root) override {
    return exports_.Check(volume, root);
  }
  absl::Status SetExport(const model::VolumeName& volume, const std::string& root, model::ExportMode mode) override {
    return exports_.Set(volume, root, mode);
  }

 private:
  exports::ExportSwitch& exports_;
};

}  // namespace

struct DrAgent::Parts {
  ScrubProbe scrub_probe;
  std::unique_ptr<exports::ExportSwitch> exports;
  std::unique_ptr<CommitEngine> engine;
  std::unique_ptr<DamageKeeper> damage;
  std::unique_ptr<Scrubber> scrubber;
  std::unique_ptr<exports::VolumeExports> volume_exports;
  std::unique_ptr<CatalogStore> catalog;
  std::unique_ptr<Confirmations> confirmations;
  std::unique_ptr<PointTrees> trees;
  std::unique_ptr<HookRunner> hooks;
  std::unique_ptr<SwitchedExports> switched_exports;
  std::unique_ptr<Promoter> promoter;
  std::vector<std::unique_ptr<grpc::Service>> services;
  std::unique_ptr<net::RpcServer> server;
  std::unique_ptr<telemetry::MetricsServer> metrics;
  std::jthread trash_keeper;
  std::unique_ptr<PointKeeper> point_keeper;
  std::jthread damage_tender;
  std::jthread scrub;

  absl::Status Ready() const {
    RETURN_IF_ERROR(engine->Usable());
    RETURN_IF_ERROR(exports->Usable());
    return damage->Alert();
  }
  void KeepTrash(std::stop_token stop) const {
    std::string said;
    while (!stop.stop_requested()) {
      const absl::Status discarded = engine->DiscardRemoved(stop);
      const std::string trouble(discarded.ok() ? std::string_view() : MessageOf(discarded));
      if (!trouble.empty() && trouble != said && !absl::IsCancelled(discarded)) spdlog::warn("{}", trouble);
      said = trouble;
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
                              .points = {config.points.keep_for, config.points.max_bytes, config.points.keep_all_for,
                                         config.points.keep_hourly_for}};
  const absl::Duration thinning_interval = ThinningInterval(options.points);
  options.trash_retain = config.trash.retain;
  for (const config::DrExport& exported : config.exports) options.exports.push_back(exported.path.string());
  ASSIGN_OR_RETURN(parts->exports, StartExports(config));
  options.before_trash = [exports = parts->exports.get()](const model::VolumeName& volume) {
    // What the server doesn't let go of now it loses later: the desired state says so already.
    const absl::Status forgotten = exports->Forget(volume);
    if (!forgotten.ok()) spdlog::warn("volume={} goes to the trash: {}", volume, MessageOf(forgotten));
  };
  ASSIGN_OR_RETURN(parts->engine, CommitEngine::Start(std::move(options)));
  parts->volume_exports = std::make_unique<exports::VolumeExports>(
      *parts->exports, [engine = parts->engine.get()] { return ExportableReplicas(*engine); });
  for (const std::string& problem : parts->engine->Problems()) spdlog::error("{}", problem);
  parts->damage = std::make_unique<DamageKeeper>(*parts->engine, Clock::System(), parts->scrub_probe);
  parts->damage->Load();
  parts->scrubber = std::make_unique<Scrubber>(*parts->engine, *parts->damage,
                                               ScrubSettings{config.scrub.interval, config.scrub.rate_limit},
                                               Clock::System(), parts->scrub_probe);
  ASSIGN_OR_RETURN(parts->catalog, CatalogStore::Open((config.state_dir / "catalog.db").string(),
                                                      [engine = parts->engine.get()](const model::VolumeName& volume) {
                                                        return engine->CheckStandby(volume);
                                                      }));
  ASSIGN_OR_RETURN(parts->confirmations,
                   Confirmations::Open((config.state_dir / "confirmations.db").string(), Clock::System()));
  TreeServing serving;
  serving.begin = [exports = parts->exports.get()](const model::PointTree& tree) {
    return exports->Set(tree.id, tree.path,
                        tree.writable ? model::ExportMode::kReadWrite : model::ExportMode::kReadOnly);
  };
  serving.end = [exports = parts->exports.get()](const model::PointTree& tree) { return exports->Forget(tree.id); };
  ASSIGN_OR_RETURN(parts->trees,
                   PointTrees::Open(config.state_dir.string(), *parts->engine, Clock::System(), std::move(serving)));
  parts->engine->SetTaken([trees = parts->trees.get()] { return trees->Paths(); });

  parts->services.push_back(MakeReplicationService(*parts->engine, OurHandshake()));
  parts->services.push_back(MakeReplicaService(*parts->engine));
  parts->services.push_back(MakeFreshnessService(*parts->engine, *parts->confirmations));
  parts->services.push_back(MakePointsService(*parts->engine, *parts->trees));
  parts->hooks = std::make_unique<HookRunner>(HookOptions{config.hooks.dir.string(), config.hooks.timeout});
  parts->switched_exports = std::make_unique<SwitchedExports>(*parts->exports);
  parts->promoter = std::make_unique<Promoter>(*parts->engine, *parts->switched_exports, *parts->hooks);
  parts->services.push_back(MakeStandbyService(*parts->promoter));
  parts->services.push_back(MakeCatalogService(*parts->catalog));
  parts->services.push_back(wire::MakeExportsService(*parts->volume_exports));
  parts->services.push_back(MakeVerifyService(*parts->engine, *parts->damage));
  std::vector<grpc::Service*> services;
  for (const auto& service : parts->services) services.push_back(service.get());
  ASSIGN_OR_RETURN(parts->server, net::RpcServer::Start(config.listen, tls, net::Role::kDr, services));
  parts->server->SetServing(kReplicationHealth, true);
  parts->server->SetServing(kCatalogHealth, true);

  const auto registry = telemetry::MakeRegistry("understudy-dr", std::string(daemon::SoftwareVersion()));
  ASSIGN_OR_RETURN(parts->metrics, telemetry::MetricsServer::Start(
                                       config.metrics_listen,
                                       std::make_shared<DrMetrics>(registry, *parts->engine, *parts->catalog,
                                                                   *parts->exports, *parts->damage, parts->scrub_probe),
                                       [raw = parts.get()] { return raw->Ready(); }));
  parts->trash_keeper = std::jthread([raw = parts.get()](std::stop_token stop) { raw->KeepTrash(stop); });
  parts->point_keeper = std::make_unique<PointKeeper>(*parts->engine, thinning_interval);
  parts->damage_tender = std::jthread([raw = parts.get()](std::stop_token stop) { raw->damage->Run(std::move(stop)); });
  parts->scrub = std::jthread([raw = parts.get()](std::stop_token stop) { raw->scrubber->Run(std::move(stop)); });
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
  const absl::Status ready = parts_->Ready();
  if (!ready.ok()) return std::string(MessageOf(ready));
  return fmt::format("{} replicas", parts_->engine->List().size());
}

void DrAgent::Stop() {
  parts_->metrics.reset();
  parts_->scrub.request_stop();
  parts_->damage_tender.request_stop();
  parts_->trash_keeper.request_stop();
  if (parts_->server != nullptr) parts_->server->Shutdown(kStopGrace);
  // Whatever a commit was in the middle of, the next start finishes or discards.
  parts_->server.reset();
  parts_->services.clear();
  // They may have waited for a call that only the end of the server ended.
  parts_->scrub = {};
  parts_->damage_tender = {};
  parts_->trash_keeper = {};
  parts_->point_keeper.reset();
}

int DrAgent::port() const {
  return parts_->server->port();
}
int DrAgent::metrics_port() const {
  return parts_->metrics->port();
}

}  // namespace understudy::dr
