#include "control/commands/site_agents.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "control/commands/agents_client.h"
#include "control/commands/exports_client.h"
#include "control/commands/points_client.h"
#include "control/commands/standby_client.h"
#include "control/commands/sync_watch.h"
#include "control/commands/verify_client.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/net/channel.h"
#include "core/wire/catalog_client.h"

namespace understudy::control {
namespace {

// One pair's connections. Every client is thread-safe but PointsClient, which is made for each call.
struct PairConnections {
  config::PairConfig pair;
  PrimaryClient primary;
  ReplicaClient replicas;
  StandbyClient standby;
  ExportsClient primary_exports;
  std::unique_ptr<wire::CatalogClient> catalog;
};

absl::StatusOr<ReplicaView> ViewOf(const DrReplica& replica) {
  ReplicaView view{.volume = replica.name,
                   .root = replica.root,
                   .epoch = replica.epoch,
                   .sequence = replica.sequence,
                   .complete = replica.complete,
                   .held = replica.held,
                   .hooks_due = replica.hooks_due,
                   .captured_at = replica.captured_at};
  ASSIGN_OR_RETURN(view.state, model::ParseVolumeState(replica.state));
  return view;
}

SourceView ViewOf(const PrimaryVolume& volume) {
  return {.volume = volume.name,
          .state = volume.state,
          .problem = volume.guard ? Printable(volume.guard->reason) : Printable(volume.error),
          .lag_seconds = volume.lag_seconds,
          .sequence = volume.sequence,
          .paused = volume.paused_since.has_value()};
}

class GrpcSiteAgents : public SiteAgents {
 public:
  GrpcSiteAgents(net::TlsFiles tls, std::map<std::string, PairConnections> pairs)
      : tls_(std::move(tls)), pairs_(std::move(pairs)) {}

  std::vector<std::string> Pairs() const override {
    std::vector<std::string> names;
    for (const auto& [name, connections] : pairs_) names.push_back(name);
    return names;
  }

  std::vector<std::string> ServerNames(const std::string& pair) const override {
    const auto found = pairs_.find(pair);
    return found == pairs_.end() ? std::vector<std::string>() : found->second.pair.server_names;
  }

  absl::StatusOr<std::vector<SourceView>> Sources(const std::string& pair) override {
    const PairConnections& agents = Of(pair);
    ASSIGN_OR_RETURN(const PrimaryVolumes volumes, agents.primary.ListVolumes());
    ASSIGN_OR_RETURN(const std::vector<model::ExportState> exports, agents.primary_exports.List());
    std::vector<SourceView> sources;
    for (const PrimaryVolume& volume : volumes.volumes) {
      SourceView source = ViewOf(volume);
      const auto exported = std::find_if(exports.begin(), exports.end(),
                                         [&](const model::ExportState& state) { return state.name == volume.name; });
      if (exported != exports.end()) {
        source.exported = exported->desired;
        source.fenced = exported->actual.has_value() && *exported->actual != model::ExportMode::kReadWrite;
      }
      sources.push_back(std::move(source));
    }
    return sources;
  }

  absl::Status SetSourceExport(const std::string& pair, const std::string& volume, model::ExportMode mode) override {
    return Of(pair).primary_exports.Set(volume, mode).status();
  }

  absl::StatusOr<model::Sequence> Sync(const std::string& pair, const std::string& volume, absl::Duration timeout,
                                       const std::function<void(const std::string&)>& on_progress,
                                       std::stop_token stop) override {
    const Clock& clock = Clock::System();
    SyncWatch watch;
    const absl::StatusOr<PrimaryVolume> synced = Of(pair).primary.Sync(
        volume, /*published=*/false, timeout,
        [&](const PrimaryVolume& report) {
          if (const auto trouble = watch.OnReport(report, clock.Monotonic())) on_progress(*trouble);
        },
        std::move(stop));
    if (!synced.ok()) return watch.Explain(synced.status(), timeout, clock.Monotonic());
    return synced->sequence;
  }

  absl::Status Pause(const std::string& pair, const std::string& volume) override {
    return Of(pair).primary.Pause(volume).status();
  }
  absl::Status Resume(const std::string& pair, const std::string& volume) override {
    return Of(pair).primary.Resume(volume).status();
  }

  absl::StatusOr<std::vector<ReplicaView>> Replicas(const std::string& pair) override {
    ASSIGN_OR_RETURN(const std::vector<DrReplica> replicas, Of(pair).replicas.ListReplicas());
    std::vector<ReplicaView> views;
    for (const DrReplica& replica : replicas) {
      ASSIGN_OR_RETURN(ReplicaView view, ViewOf(replica));
      views.push_back(std::move(view));
    }
    return views;
  }

  absl::StatusOr<std::vector<model::CatalogEntry>> Catalog(const std::string& pair, model::ObjectKind kind) override {
    return Of(pair).catalog->List(kind);
  }

  absl::StatusOr<Findings> Verify(const std::string& pair, const std::string& volume, model::VerifyDepth depth,
                                  const std::function<void(const model::VerifyCounts&)>& on_progress) override {
    const bool needs_dr_only = depth == model::VerifyDepth::kExists || depth == model::VerifyDepth::kKept;
    const config::PairConfig& addresses = Of(pair).pair;
    ASSIGN_OR_RETURN(VerifyOutcome outcome,
                     AskToVerify(needs_dr_only ? addresses.dr : addresses.primary, tls_, volume, depth, on_progress));
    return Findings{.counts = outcome.counts, .differences = std::move(outcome.differences)};
  }

  absl::StatusOr<ReplicaView> Promote(const std::string& pair, const std::string& volume, const std::string& run,
                                      bool allow_incomplete, const PromotionWatch& watch) override {
    ASSIGN_OR_RETURN(const DrReplica replica,
                     Of(pair).standby.Promote({.volume = volume, .allow_incomplete = allow_incomplete, .run = run},
                                              {.on_step = watch.on_step, .on_hook = watch.on_hook}));
    return ViewOf(replica);
  }

  absl::Status RunHooks(const std::string& pair, model::HookPhase phase, const std::string& volume,
                        const std::string& run, const PromotionWatch& watch) override {
    return Of(pair).standby.RunHooks({.phase = phase, .volume = volume, .run = run},
                                     {.on_step = watch.on_step, .on_hook = watch.on_hook});
  }

  absl::StatusOr<model::Sequence> LabelNewest(const std::string& pair, const std::string& volume,
                                              const std::string& label) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsClient::Create(Of(pair).pair.dr, tls_));
    return points.Label(volume, std::nullopt, label, /*pinned=*/true);
  }
  absl::StatusOr<model::RecoveryPoints> Points(const std::string& pair, const std::string& volume) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsClient::Create(Of(pair).pair.dr, tls_));
    return points.List(volume);
  }
  absl::Status Unlabel(const std::string& pair, const std::string& volume, model::Sequence sequence) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsClient::Create(Of(pair).pair.dr, tls_));
    return points.Unlabel(volume, sequence);
  }
  absl::StatusOr<model::PointTree> Materialise(const std::string& pair, const TreeWish& wish,
                                               const std::function<void(const std::string&)>& on_progress) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsClient::Create(Of(pair).pair.dr, tls_));
    return points.Materialise(
        {.volume = wish.volume, .sequence = wish.sequence, .path = wish.path, .writable = true},
        [&](uint64_t done, uint64_t total) { on_progress(fmt::format("{} of {} undo records", done, total)); });
  }
  absl::StatusOr<std::vector<model::PointTree>> Trees(const std::string& pair) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsClient::Create(Of(pair).pair.dr, tls_));
    return points.ListTrees();
  }
  absl::Status RemoveTree(const std::string& pair, const std::string& id) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsClient::Create(Of(pair).pair.dr, tls_));
    return points.RemoveTree(id).status();
  }

 private:
  [[nodiscard]] const PairConnections& Of(const std::string& pair) const {
    const auto found = pairs_.find(pair);
    UNDERSTUDY_CHECK(found != pairs_.end());
    return found->second;
  }

  const net::TlsFiles tls_;
  const std::map<std::string, PairConnections> pairs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SiteAgents>> ConnectSites(const config::ControlConfig& config) {
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  std::map<std::string, PairConnections> pairs;
  for (const config::PairConfig& pair : config.pairs) {
    ASSIGN_OR_RETURN(PrimaryClient primary, PrimaryClient::Create(pair.primary, tls));
    ASSIGN_OR_RETURN(ReplicaClient replicas, ReplicaClient::Create(pair.dr, tls));
    ASSIGN_OR_RETURN(StandbyClient standby, StandbyClient::Create(pair.dr, tls));
    ASSIGN_OR_RETURN(ExportsClient exports, ExportsClient::Create(pair.primary, tls, net::Role::kPrimary));
    ASSIGN_OR_RETURN(auto channel, net::MakeChannel({pair.dr, tls, net::Role::kControl, net::Role::kDr}));
    pairs.emplace(pair.name, PairConnections{.pair = pair,
                                             .primary = std::move(primary),
                                             .replicas = std::move(replicas),
                                             .standby = std::move(standby),
                                             .primary_exports = std::move(exports),
                                             .catalog = std::make_unique<wire::CatalogClient>(std::move(channel))});
  }
  return std::make_unique<GrpcSiteAgents>(tls, std::move(pairs));
}

}  // namespace understudy::control
