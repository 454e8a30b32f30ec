#include "agent-primary/object_plane.h"

#include <fmt/format.h>

#include <utility>

#include "agent-primary/intake/probe.h"
#include "core/base/log.h"
#include "core/kube/access.h"
#include "nlohmann/json.hpp"

namespace understudy::primary {
namespace {

constexpr absl::Duration kIdentityTimeout = absl::Seconds(10);
constexpr char kObjectGuardFile[] = "object_guard.db";
constexpr char kEventsFile[] = "events.db";
constexpr char kForwardFile[] = "forward.db";

std::vector<ForwarderTarget> TargetsOf(const config::PrimaryConfig& config) {
  std::vector<ForwarderTarget> targets;
  for (const config::ForwardTarget& target : config.forward) {
    targets.push_back({.name = target.name,
                       .url = target.url,
                       .token_file = target.token_file.string(),
                       .hmac_secret_file = target.hmac_secret_file.string(),
                       .ca_file = target.ca.string()});
  }
  return targets;
}

// As ActionRunnerOptions::lookup.
absl::StatusOr<std::string> LookUp(const kube::Client& client, const model::ObjectKey& key) {
  absl::StatusOr<nlohmann::json> object = client.Get(kube::ResourceOf(key.kind), key.namespace_name, key.name);
  if (absl::IsNotFound(object.status()) && kube::ApiReason(object.status()) != "NotFound") {
    // A load balancer's, or that of a path which the server doesn't have.
    return absl::UnavailableError(
        fmt::format("whether there is a {} isn't known: {}", ToString(key), MessageOf(object.status())));
  }
  RETURN_IF_ERROR(object.status());
  if (const auto metadata = object->find("metadata"); metadata != object->end() && metadata->is_object()) {
    metadata->erase("managedFields");
  }
  return object->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Whether nothing but the webhook tells of the cluster.
bool IsPostedOnly(const config::PrimaryConfig& config) {
  return !config.kubernetes.has_value();
}

}  // namespace

struct ObjectPlane::Cluster {
  explicit Cluster(const kube::ClusterAccess& access)
      : client(access), identity_client(access, {.request_timeout = kIdentityTimeout}) {}

  kube::Client client;
  kube::Client identity_client;  // an answer that doesn't come keeps deletions waiting
};

ObjectPlane::ObjectPlane() = default;

ObjectPlane::~ObjectPlane() {
  Stop();
}

absl::StatusOr<std::unique_ptr<ObjectPlane>> ObjectPlane::Open(const config::PrimaryConfig& config,
                                                               const net::ChannelSpec& peer, VolumeActions& volumes) {
  std::unique_ptr<ObjectPlane> objects(new ObjectPlane());
  if (config.kubernetes) {
    const config::ClusterConfig& cluster = config.kubernetes->cluster;
    absl::StatusOr<kube::ClusterAccess> access =
        cluster.in_cluster ? kube::LoadInCluster() : kube::LoadKubeconfig(cluster.kubeconfig.string(), cluster.context);
    RETURN_IF_ERROR(access.status());
    objects->cluster_ = std::make_unique<Cluster>(*access);
  }
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, net::MakeChannel(peer));
  objects->catalog_ = std::make_unique<wire::CatalogClient>(std::move(channel));
  RETURN_IF_ERROR(objects->OpenKeeper(config));
  RETURN_IF_ERROR(objects->OpenEvents(config));
  ActionRunnerOptions options;
  options.keeper = objects->keeper_.get();
  options.observer = objects->recorder_.get();
  if (objects->cluster_ != nullptr) {
    options.lookup = [client = &objects->cluster_->identity_client](const model::ObjectKey& key) {
      return LookUp(*client, key);
    };
  }
  objects->runner_ = std::make_unique<ActionRunner>(volumes, *objects->catalog_, options);
  objects->pipeline_ =
      std::make_unique<EventPipeline>(*objects->events_, *objects->rules_, *objects->runner_, objects->forwarder_.get(),
                                      EventPipeline::Options{.retell = IsPostedOnly(config)});
  if (objects->cluster_ != nullptr) {
    objects->intake_ = std::make_unique<ClusterIntake>(
        objects->cluster_->client, config.kubernetes->namespaces, *objects->pipeline_, kube::ListWatchOptions{},
        [keeper = objects->keeper_.get(), runner = objects->runner_.get()](model::ObjectKind kind) {
          return keeper->Doubts(kind) || runner->Doubts(kind);
        });
  }
  return objects;
}

absl::Status ObjectPlane::OpenKeeper(const config::PrimaryConfig& config) {
  ObjectKeeper::Identify identify;
  if (cluster_ != nullptr) identify = [client = &cluster_->identity_client] { return kube::ClusterUid(*client); };
  ASSIGN_OR_RETURN(keeper_, ObjectKeeper::Open((config.state_dir / kObjectGuardFile).string(),
                                               {.max_delete_fraction = config.guard.max_delete_fraction,
                                                .min_objects = config.guard.min_objects},
                                               std::move(identify)));
  return absl::OkStatus();
}

absl::Status ObjectPlane::OpenEvents(const config::PrimaryConfig& config) {
  rules_ = std::make_unique<RuleSet>(config.rules);
  ASSIGN_OR_RETURN(events_,
                   EventLog::Open((config.state_dir / kEventsFile).string(), {.retell = IsPostedOnly(config)}));
  recorder_ = std::make_unique<OutcomeRecorder>(*events_, *rules_);
  if (config.forward.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(forwarder_,
                   Forwarder::Open((config.state_dir / kForwardFile).string(), TargetsOf(config), {},
                                   [this](const ForwardResult& result) { recorder_->OnForwarded(result); }));
  return absl::OkStatus();
}

absl::Status ObjectPlane::Start(const config::PrimaryConfig& config) {
  threads_.emplace_back([this] { runner_->Run(stop_.get_token()); });
  threads_.emplace_back([this] { pipeline_->Run(stop_.get_token()); });
  if (forwarder_ != nullptr) threads_.emplace_back([this] { forwarder_->Run(stop_.get_token()); });
  if (intake_ != nullptr) threads_.emplace_back([this] { intake_->Run(stop_.get_token()); });
  return config.webhook ? StartWebhook(*config.webhook) : absl::OkStatus();
}

absl::Status ObjectPlane::StartWebhook(const config::WebhookConfig& config) {
  WebhookOptions options;
  options.listen = config.listen;
  options.token_file = config.token_file.string();
  options.hmac_secret_file = config.hmac_secret_file.string();
  options.max_body_bytes = config.max_body;
  if (config.tls) options.tls = net::HttpServerTls{config.tls->cert, config.tls->key};
  options.namespaces = {config.namespaces.begin(), config.namespaces.end()};
  const auto accept = [this](const model::ObjectEvent& event) -> absl::StatusOr<bool> {
    const absl::StatusOr<EventPipeline::Accepted> accepted = pipeline_->Accept(event);
    RETURN_IF_ERROR(accepted.status());
    return accepted->repeated;
  };
  ASSIGN_OR_RETURN(webhook_, WebhookIntake::Start(options, accept));
  spdlog::info("the webhook listens on port {}", webhook_->port());
  return absl::OkStatus();
}

void ObjectPlane::Stop() {
  stop_.request_stop();
  webhook_.reset();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

ObjectsReport ObjectPlane::Report() const {
  ObjectsReport report{.actions = runner_->Status(), .following_errors = {}, .guards = keeper_->Reports()};
  report.following_errors = report.actions.doubts;
  if (intake_ == nullptr) return report;
  for (const KindStatus& kind : intake_->Status()) {
    if (kind.error.empty()) continue;
    report.following_errors.push_back(fmt::format("{}: {}", model::ToString(kind.kind), kind.error));
  }
  return report;
}

absl::Status ObjectPlane::ApproveGuard(const std::string& guard_kind, uint64_t gone) {
  return runner_->ApproveGuard(guard_kind, gone);
}

std::shared_ptr<prometheus::Collectable> ObjectPlane::MakeProbe() const {
  return std::make_shared<IntakeProbe>(IntakeParts{.log = events_.get(),
                                                   .pipeline = pipeline_.get(),
                                                   .runner = runner_.get(),
                                                   .watch = intake_.get(),
                                                   .webhook = webhook_.get(),
                                                   .forwarder = forwarder_.get()});
}

}  // namespace understudy::primary
