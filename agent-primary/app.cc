#include "agent-primary/app.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "agent-primary/object_plane.h"
#include "agent-primary/rules/protected_volumes.h"
#include "agent-primary/service/primary_service.h"
#include "agent-primary/service/probe.h"
#include "agent-primary/ship/data_plane.h"
#include "agent-primary/ship/freshness_teller.h"
#include "agent-primary/ship/grpc_sink.h"
#include "agent-primary/ship/quiet_volumes.h"
#include "agent-primary/ship/replica_lister.h"
#include "agent-primary/ship/volume_discarder.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/daemon/version.h"
#include "core/exports/configured.h"
#include "core/exports/volume_exports.h"
#include "core/net/channel.h"
#include "core/net/rpc_server.h"
#include "core/telemetry/metrics_server.h"
#include "core/wire/exports_service.h"

namespace understudy::primary {
namespace {

constexpr absl::Duration kStopGrace = absl::Seconds(2);
constexpr absl::Duration kHealthInterval = absl::Seconds(1);
// Between two words to DR about the volumes of which nothing is outstanding.
constexpr absl::Duration kFreshnessInterval = absl::Seconds(5);
// Of grpc.health.v1.Health: SERVING while DR is connected and every volume replicates.
constexpr char kReplicationHealth[] = "understudy.v1.Replication";
constexpr char kPrimaryHealth[] = "understudy.v1.Primary";

Strategy ToStrategy(config::CaptureStrategy strategy) {
  switch (strategy) {
    case config::CaptureStrategy::kAuto:
      return Strategy::kAuto;
    case config::CaptureStrategy::kWhole:
      return Strategy::kWhole;
    case config::CaptureStrategy::kRsync:
      return Strategy::kRsync;
  }
  AbortOnBrokenInvariant("known CaptureStrategy", __FILE__, __LINE__);
}

ChangeBackend ToBackend(config::WatchBackend backend) {
  switch (backend) {
    case config::WatchBackend::kAuto:
      return ChangeBackend::kAuto;
    case config::WatchBackend::kFanotify:
      return ChangeBackend::kFanotify;
    case config::WatchBackend::kInotify:
      return ChangeBackend::kInotify;
  }
  AbortOnBrokenInvariant("known WatchBackend", __FILE__, __LINE__);
}

DataPlaneOptions PlaneOptions(const config::PrimaryConfig& config) {
  DataPlaneOptions options;
  options.state_dir = config.state_dir.string();
  for (const config::PrimaryExport& exported : config.exports) {
    options.exports.push_back({exported.path.string(), exported.dr_path, exported.server_names});
  }
  options.watch = ToBackend(config.watch.backend);
  options.replicator.times = {config.watch.quiet_period, config.watch.max_delay};
  options.replicator.rescan_interval = config.watch.rescan_interval;
  options.replicator.strategy = ToStrategy(config.capture.strategy);
  if (config.capture.selinux_labels) options.replicator.labels = os::Labels::kTake;
  options.replicator.guard = {config.guard.max_delete_fraction, config.guard.min_files};
  return options;
}

// Each call makes a connection of its own, so that lanes don't share one TCP window.
SinkConnector MakeConnector(const net::ChannelSpec& spec) {
  return [spec](std::function<void(const model::VolumeName&, model::Sequence)> on_published,
                std::function<void()> on_broken) -> absl::StatusOr<std::unique_ptr<model::ReplicaSink>> {
    ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, net::MakeChannel(spec));
    ASSIGN_OR_RETURN(
        std::unique_ptr<GrpcReplicaSink> sink,
        GrpcReplicaSink::Connect(std::move(channel), spec.address, {std::move(on_published), std::move(on_broken)}));
    return sink;
  };
}

absl::StatusOr<std::unique_ptr<exports::ExportSwitch>> StartExports(const config::PrimaryConfig& config) {
  std::vector<exports::ConfiguredPlace> places;
  for (const config::PrimaryExport& exported : config.exports) places.push_back({exported.path, exported.switching});
  return exports::StartConfigured("understudy-primary", config.state_dir, places, config.knfsd, config.ganesha);
}

std::vector<exports::ExportableVolume> ExportableVolumes(const DataPlane& plane) {
  std::vector<exports::ExportableVolume> volumes;
  for (const VolumeReport& report : plane.Report()) {
    const bool handed_over = report.status.state == ReplicationState::kHandedOver;
    if (handed_over && report.path.empty()) continue;
    volumes.push_back(
        {.name = report.name, .path = report.path, .why_never_written = report.status.handed_over_reason});
  }
  return volumes;
}

}  // namespace

struct PrimaryAgent::Parts {
  std::unique_ptr<exports::ExportSwitch> exports;
  std::unique_ptr<VolumeDiscarder> discarder;
  std::unique_ptr<ReplicaLister> lister;
  std::unique_ptr<FreshnessTeller> freshness;
  std::unique_ptr<DataPlane> plane;
  std::unique_ptr<ProtectedVolumes> protected_volumes;
  std::unique_ptr<exports::VolumeExports> volume_exports;
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<grpc::Service> exports_service;
  std::unique_ptr<net::RpcServer> server;
  std::unique_ptr<telemetry::MetricsServer> metrics;

  std::unique_ptr<ObjectPlane> objects;  // where object events are taken in only

  std::stop_source stop;
  std::vector<std::thread> threads;

  absl::Status StartMetrics(const config::PrimaryConfig& config);
  absl::Status Replicating() const;
  // Replicating, with every export as desired.
  absl::Status Ready() const;
  void WatchHealth(std::stop_token token);
  void TellFreshness(std::stop_token token) const;
};

absl::StatusOr<std::unique_ptr<PrimaryAgent>> PrimaryAgent::Start(const config::PrimaryConfig& config) {
  auto parts = std::make_unique<Parts>();
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  const net::ChannelSpec peer{config.peer.address, tls, net::Role::kPrimary, net::Role::kDr};
  RETURN_IF_ERROR(net::CheckTlsFiles(tls, net::Role::kPrimary));

  ASSIGN_OR_RETURN(parts->discarder, VolumeDiscarder::Create(peer));
  ASSIGN_OR_RETURN(parts->lister, ReplicaLister::Create(peer));
  ASSIGN_OR_RETURN(parts->freshness, FreshnessTeller::Create(peer));
  DataPlaneOptions options = PlaneOptions(config);
  ASSIGN_OR_RETURN(parts->exports, StartExports(config));
  options.discard = [raw = parts.get()](const model::DiscardedVolume& discarded) {
    // What the server doesn't let go of now it loses later: the desired state says so already.
    const absl::Status forgotten = raw->exports->Forget(discarded.volume);
    if (!forgotten.ok()) spdlog::warn("volume={} was deleted: {}", discarded.volume, MessageOf(forgotten));
    return raw->discarder->Discard(discarded);
  };
  ASSIGN_OR_RETURN(parts->plane, DataPlane::Start(options, MakeConnector(peer), Clock::System()));
  for (const config::ListedVolume& volume : config.volumes) {
    RETURN_IF_ERROR(parts->plane->AddListed(volume.name, volume.path.string()));
  }
  parts->plane->RegisterTakenUp();
  ASSIGN_OR_RETURN(parts->protected_volumes,
                   ProtectedVolumes::Open((config.state_dir / "protected.db").string(), *parts->plane));
  RETURN_IF_ERROR(parts->protected_volumes->RegisterAll());
  if (config.kubernetes || config.webhook) {
    ASSIGN_OR_RETURN(parts->objects, ObjectPlane::Open(config, peer, *parts->protected_volumes));
  }
  parts->service = MakePrimaryService({.plane = *parts->plane,
                                       .protected_volumes = *parts->protected_volumes,
                                       .objects = parts->objects.get(),
                                       .events = parts->objects ? &parts->objects->events() : nullptr,
                                       .lister = *parts->lister,
                                       .exports = *parts->exports,
                                       .peer_address = config.peer.address});
  parts->volume_exports = std::make_unique<exports::VolumeExports>(
      *parts->exports, [plane = parts->plane.get()] { return ExportableVolumes(*plane); });
  parts->exports_service = wire::MakeExportsService(*parts->volume_exports);
  ASSIGN_OR_RETURN(parts->server, net::RpcServer::Start(config.listen, tls, net::Role::kPrimary,
                                                        {parts->service.get(), parts->exports_service.get()}));
  parts->server->SetServing(kPrimaryHealth, true);
  parts->server->SetServing(kReplicationHealth, false);

  std::unique_ptr<PrimaryAgent> agent(new PrimaryAgent(std::move(parts)));
  Parts& started = *agent->parts_;
  if (started.objects != nullptr) RETURN_IF_ERROR(started.objects->Start(config));
  RETURN_IF_ERROR(started.StartMetrics(config));
  started.threads.emplace_back([&started] { started.WatchHealth(started.stop.get_token()); });
  started.threads.emplace_back([&started] { started.TellFreshness(started.stop.get_token()); });
  return agent;
}

absl::Status PrimaryAgent::Parts::StartMetrics(const config::PrimaryConfig& config) {
  auto probe = std::make_shared<PrimaryProbe>(
      telemetry::MakeRegistry("understudy-primary", std::string(daemon::SoftwareVersion())), *plane, *exports,
      objects.get(), objects != nullptr ? objects->MakeProbe() : nullptr);
  ASSIGN_OR_RETURN(
      metrics, telemetry::MetricsServer::Start(config.metrics_listen, std::move(probe), [this] { return Ready(); }));
  return absl::OkStatus();
}

absl::Status PrimaryAgent::Parts::Ready() const {
  RETURN_IF_ERROR(Replicating());
  return exports->Usable();
}

absl::Status PrimaryAgent::Parts::Replicating() const {
  RETURN_IF_ERROR(plane->Connection());
  for (const VolumeReport& volume : plane->Report()) {
    if (!volume.status.error.empty()) {
      return absl::UnavailableError(fmt::format("volume '{}': {}", volume.name, volume.status.error));
    }
  }
  if (objects == nullptr) return absl::OkStatus();
  const ObjectsReport report = objects->Report();
  if (!report.following_errors.empty()) return absl::UnavailableError(report.following_errors.front());
  if (!report.guards.empty()) return absl::FailedPreconditionError(report.guards.front().reason);
  return absl::OkStatus();
}

void PrimaryAgent::Parts::WatchHealth(std::stop_token token) {
  do {
    server->SetServing(kReplicationHealth, Replicating().ok());
  } while (WaitUnlessStopped(token, kHealthInterval));
}

// That DR can't be told is said by readiness already; what it isn't told, it counts as older than it is.
void PrimaryAgent::Parts::TellFreshness(std::stop_token token) const {
  QuietVolumes quiet;
  do {
    const std::vector<model::Confirmation> confirmed = quiet.Look(Clock::System().Now(), plane->Report());
    if (const absl::Status told = freshness->Tell(confirmed, token); !told.ok()) {
      spdlog::debug("freshness not told: {}", MessageOf(told));
    }
  } while (WaitUnlessStopped(token, kFreshnessInterval));
}

PrimaryAgent::PrimaryAgent(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

PrimaryAgent::~PrimaryAgent() {
  Stop();
}

// The status is computed on demand under the locks that the work is done under: if it can be had, nothing is stuck.
absl::Status PrimaryAgent::Liveness() {
  (void)parts_->plane->Report();
  return absl::OkStatus();
}

std::string PrimaryAgent::StatusLine() {
  const std::vector<VolumeReport> volumes = parts_->plane->Report();
  double lag_seconds = 0;
  for (const VolumeReport& volume : volumes) lag_seconds = std::max(lag_seconds, volume.status.lag_seconds);
  const absl::Status ready = parts_->Ready();
  if (!ready.ok()) return std::string(MessageOf(ready));
  return fmt::format("{} volumes, lag {:.1f} s", volumes.size(), lag_seconds);
}

void PrimaryAgent::Stop() {
  parts_->stop.request_stop();
  parts_->metrics.reset();
  if (parts_->objects != nullptr) parts_->objects->Stop();
  for (std::thread& thread : parts_->threads) thread.join();
  parts_->threads.clear();
  if (parts_->server != nullptr) parts_->server->Shutdown(kStopGrace);
  // The lanes end their captures where they are: what isn't acknowledged is captured again.
  parts_->server.reset();
  parts_->service.reset();
  parts_->exports_service.reset();
  parts_->objects.reset();
  parts_->protected_volumes.reset();
  parts_->plane.reset();
}

int PrimaryAgent::port() const {
  return parts_->server->port();
}
int PrimaryAgent::metrics_port() const {
  return parts_->metrics->port();
}

}  // namespace understudy::primary
