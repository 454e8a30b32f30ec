#include "control/commands/site_agents.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "control/commands/agents_client.h"
#include "control/commands/exports_client.h"
#include "control/commands/points_client.h"
#include "control/commands/reprotect_client.h"
#include "control/commands/standby_client.h"
#include "control/commands/sync_watch.h"
#include "control/commands/verify_client.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/net/channel.h"
#include "core/wire/catalog_client.h"

namespace understudy::control {
namespace {

// understudy-dr at the host that the failover goes from: it exports what was promoted there in an earlier one.
struct OtherSide {
  ReplicaClient replicas;
  ExportsClient exports;
};

// One pair's connections. Every client is thread-safe but PointsClient, which is made for each call.
struct PairConnections {
  config::PairConfig pair;        // with the agents that the failover goes between
  config::PairConfig configured;  // as it stands in the configuration
  PrimaryClient primary;
  ReplicaClient replicas;
  StandbyClient standby;
  ExportsClient primary_exports;
  std::optional<OtherSide> other_side;  // none: the pair has no `reverse` agents
  std::unique_ptr<wire::CatalogClient> catalog;
  // Of the other side; nullptr: nothing is known from there.
  std::unique_ptr<wire::CatalogClient> other_catalog;
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

absl::Status NoWayBack(const config::PairConfig& pair) {
  return absl::InvalidArgumentError(
      fmt::format("pair {}: the configuration doesn't say which agents carry replication the other way: add `reverse: "
                  "{{primary: …, dr: …}}` with understudy-primary of DR's host and understudy-dr of the primary's",
                  pair.name));
}

// `items` gets those of `others` whose key none of it has.
template <class Item, class KeyOf>
void AddMissing(const std::vector<Item>& others, const KeyOf& key_of, std::vector<Item>& items) {
  std::set<decltype(key_of(others.front()))> known;
  for (const Item& item : items) known.insert(key_of(item));
  for (const Item& other : others) {
    if (!known.contains(key_of(other))) items.push_back(other);
  }
}

// What is promoted, by the understudy-dr of the side that has the live copy.
std::vector<LiveView> LiveOf(const std::vector<DrReplica>& at_dr, const std::vector<DrReplica>& at_primary) {
  std::map<std::string, Copies> copies;
  for (const DrReplica& replica : at_dr) copies[replica.name].at_dr = CopyOf(replica);
  for (const DrReplica& replica : at_primary) copies[replica.name].at_primary = CopyOf(replica);
  std::vector<LiveView> live;
  for (const bool primary : {false, true}) {
    for (const DrReplica& replica : primary ? at_primary : at_dr) {
      if (replica.state != "active" || WayOf(copies[replica.name]).live_at_dr == primary) continue;
      live.push_back({.volume = replica.name,
                      .at_primary = primary,
                      .epoch = replica.epoch,
                      .root = replica.root,
                      .turned = replica.reprotected});
    }
  }
  return live;
}

class GrpcSiteAgents : public SiteAgents {
 public:
  GrpcSiteAgents(net::TlsFiles tls, FailoverWay way, std::map<std::string, PairConnections> pairs)
      : tls_(std::move(tls)), way_(way), pairs_(std::move(pairs)) {}

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
    std::map<std::string, model::ExportState> exports;
    ASSIGN_OR_RETURN(const std::vector<model::ExportState> by_primary, agents.primary_exports.List());
    for (const model::ExportState& state : by_primary) exports[state.name] = state;
    ASSIGN_OR_RETURN(const std::set<std::string> promoted, PromotedThere(agents));
    if (!promoted.empty()) {
      ASSIGN_OR_RETURN(const std::vector<model::ExportState> by_dr, agents.other_side->exports.List());
      for (const model::ExportState& state : by_dr) {
        if (promoted.contains(state.name)) exports[state.name] = state;
      }
    }
    std::vector<SourceView> sources;
    for (const PrimaryVolume& volume : volumes.volumes) {
      SourceView source = ViewOf(volume);
      if (const auto found = exports.find(volume.name); found != exports.end()) {
        const model::ExportState& state = found->second;
        source.exported = state.desired;
        source.fenced = state.actual.has_value() && *state.actual != model::ExportMode::kReadWrite;
      }
      sources.push_back(std::move(source));
    }
    return sources;
  }

  absl::Status SetSourceExport(const std::string& pair, const std::string& volume, model::ExportMode mode) override {
    const PairConnections& agents = Of(pair);
    ASSIGN_OR_RETURN(const std::set<std::string> promoted, PromotedThere(agents));
    if (promoted.contains(volume)) return agents.other_side->exports.Set(volume, mode).status();
    return agents.primary_exports.Set(volume, mode).status();
  }

  absl::StatusOr<model::Sequence> Sync(const std::string& pair, const std::string& volume, absl::Duration timeout,
                                       const std::function<void(const std::string&)>& on_progress,
                                       std::stop_token stop) override {
    return SyncAt(Of(pair).primary, volume, timeout, on_progress, std::move(stop));
  }

  absl::Status Pause(const std::string& pair, const std::string& volume) override {
    return Of(pair).primary.Pause(volume).status();
  }
  absl::Status Resume(const std::string& pair, const std::string& volume) override {
    return Of(pair).primary.Resume(volume).status();
  }

  absl::StatusOr<std::vector<ReplicaView>> Replicas(const std::string& pair) override {
    ASSIGN_OR_RETURN(std::vector<DrReplica> replicas, Of(pair).replicas.ListReplicas());
    if (way_ == FailoverWay::kNone && Of(pair).other_side) {
      ASSIGN_OR_RETURN(const std::vector<DrReplica> others, Of(pair).other_side->replicas.ListReplicas());
      AddMissing(
          others, [](const DrReplica& replica) { return replica.name; }, replicas);
    }
    std::vector<ReplicaView> views;
    for (const DrReplica& replica : replicas) {
      ASSIGN_OR_RETURN(ReplicaView view, ViewOf(replica));
      views.push_back(std::move(view));
    }
    return views;
  }

  absl::StatusOr<std::vector<model::CatalogEntry>> Catalog(const std::string& pair, model::ObjectKind kind) override {
    ASSIGN_OR_RETURN(std::vector<model::CatalogEntry> entries, Of(pair).catalog->List(kind));
    if (Of(pair).other_catalog == nullptr) return entries;
    ASSIGN_OR_RETURN(const std::vector<model::CatalogEntry> others, Of(pair).other_catalog->List(kind));
    AddMissing(
        others, [](const model::CatalogEntry& entry) { return entry.key; }, entries);
    return entries;
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

  absl::StatusOr<std::vector<LiveView>> LiveVolumes(const std::string& pair) override {
    const config::PairConfig& addresses = Of(pair).configured;
    if (!addresses.reverse) return NoWayBack(addresses);
    std::vector<DrReplica> at_dr;
    std::vector<DrReplica> at_primary;
    for (const bool primary_host : {false, true}) {
      ASSIGN_OR_RETURN(const ReplicaClient replicas,
                       ReplicaClient::Create(primary_host ? addresses.reverse->dr : addresses.dr, tls_));
      ASSIGN_OR_RETURN((primary_host ? at_primary : at_dr), replicas.ListReplicas());
      ASSIGN_OR_RETURN(const PrimaryClient primary,
                       PrimaryClient::Create(primary_host ? addresses.primary : addresses.reverse->primary, tls_));
      RETURN_IF_ERROR(primary.ListVolumes().status());
    }
    return LiveOf(at_dr, at_primary);
  }

  absl::Status Turn(const std::string& pair, const std::string& volume, const std::string& run,
                    const PromotionWatch& watch) override {
    ASSIGN_OR_RETURN(const LiveView live, LiveVolume(pair, volume));
    ASSIGN_OR_RETURN(const ReprotectAgents agents, AgentsToTurn(Of(pair).configured, live.at_primary));
    ASSIGN_OR_RETURN(const ReprotectClient client, ReprotectClient::Create(agents, tls_));
    ASSIGN_OR_RETURN(const ReplicaClient other, ReplicaClient::Create(agents.other_dr, tls_));
    ASSIGN_OR_RETURN(const std::vector<DrReplica> replicas, other.ListReplicas());
    const auto known = std::find_if(replicas.begin(), replicas.end(),
                                    [&](const DrReplica& replica) { return replica.name == volume; });
    return client
        .Reprotect({.volume = volume,
                    .epoch = live.epoch,
                    .live_path = live.root,
                    .other_path = known == replicas.end() ? "" : known->root,
                    .run = run},
                   {.on_step = watch.on_step, .on_hook = watch.on_hook})
        .status();
  }

  absl::StatusOr<model::Sequence> SyncTurned(const std::string& pair, const std::string& volume, absl::Duration timeout,
                                             const std::function<void(const std::string&)>& on_progress,
                                             std::stop_token stop) override {
    ASSIGN_OR_RETURN(const LiveView live, LiveVolume(pair, volume));
    ASSIGN_OR_RETURN(const ReprotectAgents agents, AgentsToTurn(Of(pair).configured, live.at_primary));
    ASSIGN_OR_RETURN(const PrimaryClient primary, PrimaryClient::Create(agents.live_primary, tls_));
    return SyncAt(primary, volume, timeout, on_progress, std::move(stop));
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
  // Who exports a volume mustn't be guessed: a fence at the wrong agent is none.
  static absl::StatusOr<std::set<std::string>> PromotedThere(const PairConnections& agents) {
    std::set<std::string> promoted;
    if (!agents.other_side) return promoted;
    const absl::StatusOr<std::vector<DrReplica>> replicas = agents.other_side->replicas.ListReplicas();
    if (!replicas.ok()) {
      return Annotate(replicas.status(), "who exports the volumes can't be told");
    }
    for (const DrReplica& replica : *replicas) {
      if (replica.state == "active") promoted.insert(replica.name);
    }
    return promoted;
  }

  static absl::StatusOr<model::Sequence> SyncAt(const PrimaryClient& primary, const std::string& volume,
                                                absl::Duration timeout,
                                                const std::function<void(const std::string&)>& on_progress,
                                                std::stop_token stop) {
    const Clock& clock = Clock::System();
    SyncWatch watch;
    const absl::StatusOr<PrimaryVolume> synced = primary.Sync(
        volume, /*published=*/false, timeout,
        [&](const PrimaryVolume& report) {
          if (const auto trouble = watch.OnReport(report, clock.Monotonic())) on_progress(*trouble);
        },
        std::move(stop));
    if (!synced.ok()) return watch.Explain(synced.status(), timeout, clock.Monotonic());
    return synced->sequence;
  }

  absl::StatusOr<LiveView> LiveVolume(const std::string& pair, const std::string& volume) {
    ASSIGN_OR_RETURN(const std::vector<LiveView> live, LiveVolumes(pair));
    for (const LiveView& view : live) {
      if (view.volume == volume) return view;
    }
    return absl::FailedPreconditionError(fmt::format("volume {} isn't promoted at either site", volume));
  }

  [[nodiscard]] const PairConnections& Of(const std::string& pair) const {
    const auto found = pairs_.find(pair);
    UNDERSTUDY_CHECK(found != pairs_.end());
    return found->second;
  }

  const net::TlsFiles tls_;
  const FailoverWay way_;
  const std::map<std::string, PairConnections> pairs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SiteAgents>> ConnectSites(const config::ControlConfig& config, FailoverWay way) {
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  std::map<std::string, PairConnections> pairs;
  for (const config::PairConfig& configured : config.pairs) {
    config::PairConfig pair = configured;
    if (way == FailoverWay::kBack) {
      if (!pair.reverse) return NoWayBack(pair);
      pair = config::Reversed(pair);
    }
    ASSIGN_OR_RETURN(PrimaryClient primary, PrimaryClient::Create(pair.primary, tls));
    ASSIGN_OR_RETURN(ReplicaClient replicas, ReplicaClient::Create(pair.dr, tls));
    ASSIGN_OR_RETURN(StandbyClient standby, StandbyClient::Create(pair.dr, tls));
    ASSIGN_OR_RETURN(ExportsClient exports, ExportsClient::Create(pair.primary, tls, net::Role::kPrimary));
    std::optional<OtherSide> other_side;
    if (configured.reverse) {
      const std::string& address = way == FailoverWay::kBack ? configured.dr : configured.reverse->dr;
      ASSIGN_OR_RETURN(ReplicaClient other, ReplicaClient::Create(address, tls));
      ASSIGN_OR_RETURN(ExportsClient other_exports, ExportsClient::Create(address, tls, net::Role::kDr));
      other_side.emplace(OtherSide{std::move(other), std::move(other_exports)});
    }
    const auto catalog_at = [&](const std::string& address) -> absl::StatusOr<std::unique_ptr<wire::CatalogClient>> {
      ASSIGN_OR_RETURN(auto channel, net::MakeChannel({address, tls, net::Role::kControl, net::Role::kDr}));
      return std::make_unique<wire::CatalogClient>(std::move(channel));
    };
    ASSIGN_OR_RETURN(auto catalog, catalog_at(pair.dr));
    std::unique_ptr<wire::CatalogClient> other_catalog;
    if (way != FailoverWay::kToDr && pair.reverse) {
      ASSIGN_OR_RETURN(other_catalog, catalog_at(pair.reverse->dr));
    }
    pairs.emplace(pair.name, PairConnections{.pair = pair,
                                             .configured = configured,
                                             .primary = std::move(primary),
                                             .replicas = std::move(replicas),
                                             .standby = std::move(standby),
                                             .primary_exports = std::move(exports),
                                             .other_side = std::move(other_side),
                                             .catalog = std::move(catalog),
                                             .other_catalog = std::move(other_catalog)});
  }
  return std::make_unique<GrpcSiteAgents>(tls, way, std::move(pairs));
}

}  // namespace understudy::control
