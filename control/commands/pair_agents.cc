#include "control/commands/pair_agents.h"

#include <utility>

#include "control/commands/agents_client.h"
#include "control/commands/sync_watch.h"
#include "core/base/clock.h"
#include "core/model/volume.h"
#include "core/net/channel.h"
#include "core/wire/catalog_client.h"

namespace understudy::control {
namespace {

ProtectedVolume ToProtected(const PrimaryVolume& volume) {
  return {.replica_path = volume.replica_path, .sequence = volume.sequence};
}

class GrpcPairAgents : public PairAgents {
 public:
  GrpcPairAgents(config::PairConfig pair, PrimaryClient primary, ReplicaClient replicas,
                 std::unique_ptr<wire::CatalogClient> catalog)
      : pair_(std::move(pair)),
        primary_(std::move(primary)),
        replicas_(std::move(replicas)),
        catalog_(std::move(catalog)),
        snapshots_(
            [this](const std::string& volume, const std::string& path) { return replicas_.FileSize(volume, path); }) {}

  const std::string& name() const override { return pair_.name; }
  const std::vector<std::string>& server_names() const override { return pair_.server_names; }
  const std::string& dr_server() const override { return pair_.dr_server; }

  absl::StatusOr<std::optional<ProtectedVolume>> Find(const std::string& volume) override {
    ASSIGN_OR_RETURN(const PrimaryVolumes volumes, primary_.ListVolumes());
    for (const PrimaryVolume& known : volumes.volumes) {
      if (known.name == volume) return ToProtected(known);
    }
    return std::nullopt;
  }

  absl::StatusOr<ProtectedVolume> Protect(const std::string& volume, const kube::NfsSource& source) override {
    ASSIGN_OR_RETURN(const PrimaryVolume known, primary_.Protect(volume, source));
    return ToProtected(known);
  }

  absl::StatusOr<ProtectedVolume> Sync(const std::string& volume, absl::Duration timeout,
                                       std::stop_token stop) override {
    const Clock& clock = Clock::System();
    SyncWatch watch;
    const absl::StatusOr<PrimaryVolume> synced = primary_.Sync(
        volume, /*published=*/false, timeout,
        [&](const PrimaryVolume& report) { (void)watch.OnReport(report, clock.Monotonic()); }, std::move(stop));
    if (!synced.ok()) return watch.Explain(synced.status(), timeout, clock.Monotonic());
    return ToProtected(*synced);
  }

  absl::Status Release(const std::string& volume, const kube::NfsSource& source) override {
    return primary_.Release(volume, source);
  }

  absl::StatusOr<std::map<std::string, std::string>> LiveAtDr() override {
    ASSIGN_OR_RETURN(const std::vector<DrReplica> replicas, replicas_.ListReplicas());
    std::map<std::string, std::string> live;
    for (const DrReplica& replica : replicas) {
      if (replica.state != model::ToString(model::VolumeState::kStandby)) live[replica.name] = replica.state;
    }
    return live;
  }

  model::CatalogWriter& catalog() override { return *catalog_; }
  SnapshotCheck& snapshots() override { return snapshots_; }

 private:
  const config::PairConfig pair_;
  const PrimaryClient primary_;
  const ReplicaClient replicas_;
  const std::unique_ptr<wire::CatalogClient> catalog_;
  ArchiveCheck snapshots_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PairAgents>> ConnectPair(const config::ControlConfig& config,
                                                        const config::PairConfig& pair) {
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  ASSIGN_OR_RETURN(PrimaryClient primary, PrimaryClient::Create(pair.primary, tls));
  ASSIGN_OR_RETURN(ReplicaClient replicas, ReplicaClient::Create(pair.dr, tls));
  ASSIGN_OR_RETURN(auto channel, net::MakeChannel({pair.dr, tls, net::Role::kControl, net::Role::kDr}));
  return std::make_unique<GrpcPairAgents>(pair, std::move(primary), std::move(replicas),
                                          std::make_unique<wire::CatalogClient>(std::move(channel)));
}

}  // namespace understudy::control
