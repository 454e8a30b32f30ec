#include "control/commands/standby_service.h"

#include <fmt/format.h>

#include <thread>

#include "control/apply/applier.h"
#include "control/apply/snapshot_check.h"
#include "control/commands/agents_client.h"
#include "control/commands/clusters.h"
#include "control/commands/server_filter.h"
#include "control/commands/standby_catalog.h"
#include "core/base/log.h"
#include "core/kube/access.h"
#include "core/kube/client.h"
#include "core/net/channel.h"
#include "core/wire/catalog_client.h"

namespace understudy::control {
namespace {

FollowerOptions OptionsFor(const config::ControlConfig& config, const config::PairConfig& pair) {
  FollowerOptions options;
  options.pair = pair.name;
  options.transform = TransformOptionsOf(config, pair);
  return options;
}

}  // namespace

struct StandbyService::Parts {
  // Each outlives what comes after it.
  struct Pair {
    std::string name;
    std::unique_ptr<model::CatalogReader> catalog;
    std::unique_ptr<ReplicaClient> replicas;
    std::unique_ptr<TurnedVolumes> turned;
    std::unique_ptr<SnapshotCheck> snapshots;
    std::unique_ptr<Follower> follower;
    std::jthread thread;
  };

  explicit Parts(kube::ClusterAccess access) : client(std::move(access)), applier(client) {}

  kube::Client client;
  KubeApplier applier;
  std::vector<Pair> pairs;
};

absl::StatusOr<std::unique_ptr<StandbyService>> StandbyService::Start(const config::ControlConfig& config) {
  ASSIGN_OR_RETURN(kube::ClusterAccess access, AccessTo(config.clusters.dr, "dr"));
  auto parts = std::make_unique<Parts>(std::move(access));
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  for (const config::PairConfig& pair : config.pairs) {
    ASSIGN_OR_RETURN(auto channel, net::MakeChannel({pair.dr, tls, net::Role::kControl, net::Role::kDr}));
    auto catalog =
        std::make_unique<ServerFilter>(std::make_unique<wire::CatalogClient>(std::move(channel)), pair.server_names);
    ASSIGN_OR_RETURN(ReplicaClient client, ReplicaClient::Create(pair.dr, tls));
    auto replicas = std::make_unique<ReplicaClient>(std::move(client));
    auto snapshots =
        std::make_unique<ArchiveCheck>([raw = replicas.get()](const std::string& volume, const std::string& path) {
          return raw->FileSize(volume, path);
        });
    auto turned = std::make_unique<TurnedVolumes>([raw = replicas.get()] { return ListTurned(*raw); });
    FollowerOptions options = OptionsFor(config, pair);
    options.left_alone = [raw = turned.get()](const std::string& volume) { return raw->Has(volume); };
    auto follower = std::make_unique<Follower>(std::move(options), *catalog, parts->applier, *snapshots);
    parts->pairs.push_back({pair.name,
                            std::move(catalog),
                            std::move(replicas),
                            std::move(turned),
                            std::move(snapshots),
                            std::move(follower),
                            {}});
  }
  for (Parts::Pair& pair : parts->pairs) {
    pair.thread =
        std::jthread([follower = pair.follower.get()](std::stop_token stop) { follower->Run(std::move(stop)); });
  }
  return std::unique_ptr<StandbyService>(new StandbyService(std::move(parts)));
}

StandbyService::StandbyService(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

StandbyService::~StandbyService() {
  // All at once, rather than each after the one before has ended.
  for (Parts::Pair& pair : parts_->pairs) pair.thread.request_stop();
}

std::map<std::string, FollowerStatus> StandbyService::Statuses() const {
  std::map<std::string, FollowerStatus> statuses;
  for (const Parts::Pair& pair : parts_->pairs) statuses[pair.name] = pair.follower->Status();
  return statuses;
}

absl::Status StandbyService::Readiness() const {
  for (const auto& [pair, status] : Statuses()) {
    if (!status.connected) {
      return absl::UnavailableError(
          fmt::format("pair {}: catalog not connected: {}", pair, Printable(status.connection_error)));
    }
    if (!status.direction_error.empty()) {
      return absl::UnavailableError(fmt::format("pair {}: it isn't known which volumes were turned round: {}", pair,
                                                Printable(status.direction_error)));
    }
    if (!status.caught_up)
      return absl::UnavailableError(fmt::format("pair {}: {} objects to apply", pair, status.pending));
  }
  return absl::OkStatus();
}

std::string StandbyService::StatusLine() const {
  size_t connected = 0;
  size_t pending = 0;
  const auto statuses = Statuses();
  for (const auto& [pair, status] : statuses) {
    connected += status.connected ? 1 : 0;
    pending += status.pending;
  }
  return fmt::format("{} of {} catalogs connected, {} objects to apply", connected, statuses.size(), pending);
}

}  // namespace understudy::control
