#include "agent-primary/app.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "agent-primary/intake/cluster_intake.h"
#include "agent-primary/rules/action_runner.h"
#include "agent-primary/rules/object_keeper.h"
#include "agent-primary/service/object_control.h"
#include "agent-primary/service/primary_service.h"
#include "agent-primary/service/probe.h"
#include "agent-primary/ship/data_plane.h"
#include "agent-primary/ship/grpc_sink.h"
#include "agent-primary/ship/volume_discarder.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/daemon/version.h"
#include "core/kube/access.h"
#include "core/net/channel.h"
#include "core/net/rpc_server.h"
#include "core/telemetry/metrics_server.h"
#include "core/wire/catalog_client.h"

namespace understudy::primary {
namespace {

constexpr absl::Duration kStopGrace = absl::Seconds(2);
constexpr absl::Duration kHealthInterval = absl::Seconds(1);
constexpr absl::Duration kIdentityTimeout = absl::Seconds(10);
constexpr char kObjectGuardFile[] = "object_guard.db";
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

DataPlaneOptions PlaneOptions(const config::PrimaryConfig& config) {
  DataPlaneOptions options;
  options.state_dir = config.state_dir.string();
  for (const config::PrimaryExport& exported : config.exports) {
    options.exports.push_back({exported.path.string(), exported.dr_path, exported.server_names});
  }
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

// The cluster's storage objects, taken in and brought to DR.
class ObjectPlane : public ObjectControl {
 public:
  // Errors as of the kubeconfig and of the guard's file. `plane` must outlive it.
  static absl::StatusOr<std::unique_ptr<ObjectPlane>> Make(const config::PrimaryConfig& config,
                                                           const net::ChannelSpec& peer, DataPlane& plane) {
    const config::PrimaryKubernetes& kubernetes = *config.kubernetes;
    absl::StatusOr<kube::ClusterAccess> access =
        kubernetes.cluster.in_cluster
            ? kube::LoadInCluster()
            : kube::LoadKubeconfig(kubernetes.cluster.kubeconfig.string(), kubernetes.cluster.context);
    RETURN_IF_ERROR(access.status());
    std::unique_ptr<ObjectPlane> objects(new ObjectPlane(*std::move(access)));
    ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, net::MakeChannel(peer));
    objects->catalog_ = std::make_unique<wire::CatalogClient>(std::move(channel));
    ASSIGN_OR_RETURN(objects->keeper_,
                     ObjectKeeper::Open((config.state_dir / kObjectGuardFile).string(),
                                        {.max_delete_fraction = config.guard.max_delete_fraction,
                                         .min_objects = config.guard.min_objects},
                                        [client = &objects->identity_client_] { return kube::ClusterUid(*client); }));
    ActionRunnerOptions options;
    options.keeper = objects->keeper_.get();
    objects->runner_ = std::make_unique<ActionRunner>(plane, *objects->catalog_, options);
    objects->intake_ = std::make_unique<ClusterIntake>(
        objects->cluster_, kubernetes.namespaces, *objects->runner_, kube::ListWatchOptions{},
        [keeper = objects->keeper_.get()](model::ObjectKind kind) { return keeper->Doubts(kind); });
    return objects;
  }

  void RunActions(std::stop_token stop) { runner_->Run(std::move(stop)); }
  void RunIntake(std::stop_token stop) { intake_->Run(std::move(stop)); }

  ObjectsReport Report() const override {
    ObjectsReport report{.actions = runner_->Status(), .following_errors = {}, .guards = keeper_->Reports()};
    for (const KindStatus& kind : intake_->Status()) {
      if (kind.error.empty()) continue;
      report.following_errors.push_back(fmt::format("{}: {}", model::ToString(kind.kind), kind.error));
    }
    return report;
  }
  absl::Status ApproveGuard(const std::string& guard_kind, uint64_t gone) override {
    return runner_->ApproveGuard(guard_kind, gone);
  }

 private:
  explicit ObjectPlane(const kube::ClusterAccess& access)
      : cluster_(access), identity_client_(access, {.request_timeout = kIdentityTimeout}) {}

  kube::Client cluster_;
  kube::Client identity_client_;  // an answer that doesn't come keeps deletions waiting
  std::unique_ptr<wire::CatalogClient> catalog_;
  std::unique_ptr<ObjectKeeper> keeper_;
  std::unique_ptr<ActionRunner> runner_;
  std::unique_ptr<ClusterIntake> intake_;
};

}  // namespace

struct PrimaryAgent::Parts {
  std::unique_ptr<VolumeDiscarder> discarder;
  std::unique_ptr<DataPlane> plane;
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<net::RpcServer> server;
  std::unique_ptr<telemetry::MetricsServer> metrics;

  std::unique_ptr<ObjectPlane> objects;  // with Kubernetes only

  std::stop_source stop;
  std::vector<std::thread> threads;

  absl::Status Replicating() const;
  void WatchHealth(std::stop_token token);
};

absl::StatusOr<std::unique_ptr<PrimaryAgent>> PrimaryAgent::Start(const config::PrimaryConfig& config) {
  auto parts = std::make_unique<Parts>();
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  const net::ChannelSpec peer{config.peer.address, tls, net::Role::kPrimary, net::Role::kDr};
  RETURN_IF_ERROR(net::CheckTlsFiles(tls, net::Role::kPrimary));

  ASSIGN_OR_RETURN(parts->discarder, VolumeDiscarder::Create(peer));
  DataPlaneOptions options = PlaneOptions(config);
  options.discard = [discarder = parts->discarder.get()](const model::DiscardedVolume& discarded) {
    return discarder->Discard(discarded);
  };
  ASSIGN_OR_RETURN(parts->plane, DataPlane::Start(options, MakeConnector(peer), Clock::System()));
  for (const config::ListedVolume& volume : config.volumes) {
    RETURN_IF_ERROR(parts->plane->AddListed(volume.name, volume.path.string()));
  }
  if (config.kubernetes.has_value()) {
    ASSIGN_OR_RETURN(parts->objects, ObjectPlane::Make(config, peer, *parts->plane));
  }
  parts->service = MakePrimaryService(*parts->plane, config.peer.address, parts->objects.get());
  ASSIGN_OR_RETURN(parts->server,
                   net::RpcServer::Start(config.listen, tls, net::Role::kPrimary, {parts->service.get()}));
  parts->server->SetServing(kPrimaryHealth, true);
  parts->server->SetServing(kReplicationHealth, false);

  const auto registry = telemetry::MakeRegistry("understudy-primary", std::string(daemon::SoftwareVersion()));
  ASSIGN_OR_RETURN(parts->metrics, telemetry::MetricsServer::Start(
                                       config.metrics_listen,
                                       std::make_shared<PrimaryProbe>(registry, *parts->plane, parts->objects.get()),
                                       [raw = parts.get()] { return raw->Replicating(); }));
  std::unique_ptr<PrimaryAgent> agent(new PrimaryAgent(std::move(parts)));
  Parts& started = *agent->parts_;
  if (started.objects != nullptr) {
    started.threads.emplace_back([&started] { started.objects->RunActions(started.stop.get_token()); });
    started.threads.emplace_back([&started] { started.objects->RunIntake(started.stop.get_token()); });
  }
  started.threads.emplace_back([&started] { started.WatchHealth(started.stop.get_token()); });
  return agent;
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
  const absl::Status replicating = parts_->Replicating();
  if (!replicating.ok()) return std::string(MessageOf(replicating));
  return fmt::format("{} volumes, lag {:.1f} s", volumes.size(), lag_seconds);
}

void PrimaryAgent::Stop() {
  parts_->stop.request_stop();
  parts_->metrics.reset();
  for (std::thread& thread : parts_->threads) thread.join();
  parts_->threads.clear();
  if (parts_->server != nullptr) parts_->server->Shutdown(kStopGrace);
  // The lanes end their captures where they are: what isn't acknowledged is captured again.
  parts_->server.reset();
  parts_->service.reset();
  parts_->objects.reset();
  parts_->plane.reset();
}

int PrimaryAgent::port() const {
  return parts_->server->port();
}
int PrimaryAgent::metrics_port() const {
  return parts_->metrics->port();
}

}  // namespace understudy::primary
