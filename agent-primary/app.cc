#include "agent-primary/app.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "agent-primary/forward/forwarder.h"
#include "agent-primary/intake/cluster_intake.h"
#include "agent-primary/intake/event_pipeline.h"
#include "agent-primary/intake/probe.h"
#include "agent-primary/intake/webhook_intake.h"
#include "agent-primary/rules/action_runner.h"
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

}  // namespace

struct PrimaryAgent::Parts {
  std::unique_ptr<VolumeDiscarder> discarder;
  std::unique_ptr<DataPlane> plane;
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<net::RpcServer> server;
  std::unique_ptr<telemetry::MetricsServer> metrics;

  // Where object events are taken in.
  std::unique_ptr<RuleSet> rules;
  std::unique_ptr<EventLog> events;
  std::unique_ptr<OutcomeRecorder> recorder;
  std::unique_ptr<Forwarder> forwarder;
  std::unique_ptr<wire::CatalogClient> catalog;
  std::unique_ptr<ActionRunner> runner;
  std::unique_ptr<EventPipeline> pipeline;
  std::unique_ptr<kube::Client> cluster;
  std::unique_ptr<ClusterIntake> intake;
  std::unique_ptr<WebhookIntake> webhook;

  std::stop_source stop;
  std::vector<std::thread> threads;

  absl::Status OpenEvents(const config::PrimaryConfig& config);
  absl::Status StartIntake(const config::PrimaryConfig& config, const net::ChannelSpec& peer);
  absl::Status StartWatch(const config::PrimaryKubernetes& config);
  absl::Status StartWebhook(const config::WebhookConfig& config);
  absl::Status StartMetrics(const config::PrimaryConfig& config);
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
  if (config.kubernetes || config.webhook) RETURN_IF_ERROR(parts->OpenEvents(config));
  parts->service = MakePrimaryService(*parts->plane, parts->events.get(), config.peer.address);
  ASSIGN_OR_RETURN(parts->server,
                   net::RpcServer::Start(config.listen, tls, net::Role::kPrimary, {parts->service.get()}));
  parts->server->SetServing(kPrimaryHealth, true);
  parts->server->SetServing(kReplicationHealth, false);

  std::unique_ptr<PrimaryAgent> agent(new PrimaryAgent(std::move(parts)));
  Parts& started = *agent->parts_;
  if (started.events != nullptr) RETURN_IF_ERROR(started.StartIntake(config, peer));
  RETURN_IF_ERROR(started.StartMetrics(config));
  started.threads.emplace_back([&started] { started.WatchHealth(started.stop.get_token()); });
  return agent;
}

absl::Status PrimaryAgent::Parts::OpenEvents(const config::PrimaryConfig& config) {
  rules = std::make_unique<RuleSet>(config.rules);
  ASSIGN_OR_RETURN(
      events, EventLog::Open((config.state_dir / "events.db").string(), {.retell = !config.kubernetes.has_value()}));
  recorder = std::make_unique<OutcomeRecorder>(*events, *rules);
  if (config.forward.empty()) return absl::OkStatus();
  std::vector<ForwarderTarget> targets;
  for (const config::ForwardTarget& target : config.forward) {
    targets.push_back({.name = target.name,
                       .url = target.url,
                       .token_file = target.token_file.string(),
                       .hmac_secret_file = target.hmac_secret_file.string(),
                       .ca_file = target.ca.string()});
  }
  ASSIGN_OR_RETURN(forwarder, Forwarder::Open((config.state_dir / "forward.db").string(), targets, {},
                                              [this](const ForwardResult& result) { recorder->OnForwarded(result); }));
  return absl::OkStatus();
}

absl::Status PrimaryAgent::Parts::StartIntake(const config::PrimaryConfig& config, const net::ChannelSpec& peer) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, net::MakeChannel(peer));
  catalog = std::make_unique<wire::CatalogClient>(std::move(channel));
  ActionRunnerOptions options;
  options.observer = recorder.get();
  runner = std::make_unique<ActionRunner>(*plane, *catalog, options);
  pipeline = std::make_unique<EventPipeline>(*events, *rules, *runner, forwarder.get(),
                                             EventPipeline::Options{.retell = !config.kubernetes.has_value()});
  threads.emplace_back([this] { runner->Run(stop.get_token()); });
  threads.emplace_back([this] { pipeline->Run(stop.get_token()); });
  if (forwarder != nullptr) threads.emplace_back([this] { forwarder->Run(stop.get_token()); });
  if (config.kubernetes) RETURN_IF_ERROR(StartWatch(*config.kubernetes));
  return config.webhook ? StartWebhook(*config.webhook) : absl::OkStatus();
}

absl::Status PrimaryAgent::Parts::StartWatch(const config::PrimaryKubernetes& config) {
  absl::StatusOr<kube::ClusterAccess> access =
      config.cluster.in_cluster ? kube::LoadInCluster()
                                : kube::LoadKubeconfig(config.cluster.kubeconfig.string(), config.cluster.context);
  RETURN_IF_ERROR(access.status());
  cluster = std::make_unique<kube::Client>(*std::move(access));
  intake = std::make_unique<ClusterIntake>(*cluster, config.namespaces, *pipeline);
  threads.emplace_back([this] { intake->Run(stop.get_token()); });
  return absl::OkStatus();
}

absl::Status PrimaryAgent::Parts::StartWebhook(const config::WebhookConfig& config) {
  WebhookOptions options;
  options.listen = config.listen;
  options.token_file = config.token_file.string();
  options.hmac_secret_file = config.hmac_secret_file.string();
  options.max_body_bytes = config.max_body;
  if (config.tls) options.tls = net::HttpServerTls{config.tls->cert, config.tls->key};
  options.namespaces = {config.namespaces.begin(), config.namespaces.end()};
  const auto accept = [this](const model::ObjectEvent& event) -> absl::StatusOr<bool> {
    const absl::StatusOr<EventPipeline::Accepted> accepted = pipeline->Accept(event);
    RETURN_IF_ERROR(accepted.status());
    return accepted->repeated;
  };
  ASSIGN_OR_RETURN(webhook, WebhookIntake::Start(options, accept));
  spdlog::info("the webhook listens on port {}", webhook->port());
  return absl::OkStatus();
}

absl::Status PrimaryAgent::Parts::StartMetrics(const config::PrimaryConfig& config) {
  std::shared_ptr<prometheus::Collectable> more;
  if (pipeline != nullptr) {
    more = std::make_shared<IntakeProbe>(IntakeParts{.log = events.get(),
                                                     .pipeline = pipeline.get(),
                                                     .runner = runner.get(),
                                                     .watch = intake.get(),
                                                     .webhook = webhook.get(),
                                                     .forwarder = forwarder.get()});
  }
  auto registry = telemetry::MakeRegistry("understudy-primary", std::string(daemon::SoftwareVersion()));
  ASSIGN_OR_RETURN(
      metrics, telemetry::MetricsServer::Start(
                   config.metrics_listen, std::make_shared<PrimaryProbe>(std::move(registry), *plane, std::move(more)),
                   [this] { return Replicating(); }));
  return absl::OkStatus();
}

absl::Status PrimaryAgent::Parts::Replicating() const {
  RETURN_IF_ERROR(plane->Connection());
  for (const VolumeReport& volume : plane->Report()) {
    if (!volume.status.error.empty()) {
      return absl::UnavailableError(fmt::format("volume '{}': {}", volume.name, volume.status.error));
    }
  }
  if (intake == nullptr) return absl::OkStatus();
  for (const KindStatus& kind : intake->Status()) {
    if (!kind.error.empty()) {
      return absl::UnavailableError(fmt::format("{}: {}", model::ToString(kind.kind), kind.error));
    }
  }
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
  parts_->webhook.reset();
  for (std::thread& thread : parts_->threads) thread.join();
  parts_->threads.clear();
  if (parts_->server != nullptr) parts_->server->Shutdown(kStopGrace);
  // The lanes end their captures where they are: what isn't acknowledged is captured again.
  parts_->server.reset();
  parts_->service.reset();
  parts_->intake.reset();
  parts_->pipeline.reset();
  parts_->runner.reset();
  parts_->forwarder.reset();
  parts_->plane.reset();
}

int PrimaryAgent::port() const {
  return parts_->server->port();
}
int PrimaryAgent::metrics_port() const {
  return parts_->metrics->port();
}

}  // namespace understudy::primary
