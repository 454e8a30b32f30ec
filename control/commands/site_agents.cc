#include "control/commands/site_agents.h"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "control/commands/agents_client.h"
#include "control/commands/freshness_client.h"
#include "control/commands/points_client.h"
#include "control/commands/source_agents.h"
#include "control/commands/standby_client.h"
#include "control/commands/turn_agents.h"
#include "control/commands/verify_client.h"
#include "core/net/channel.h"
#include "core/wire/catalog_client.h"

namespace understudy::control {
namespace {

// One pair's connections. Every client is thread-safe but PointsClient, which is made for each call.
struct PairConnections {
  config::PairConfig pair;  // with the agents that the failover goes between
  SourceAgents source;
  ReplicaClient replicas;
  StandbyClient standby;
  FreshnessClient freshness;
  TurnAgents turn;
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
                   .captured_at = replica.captured_at,
                   .midst_of_capture = replica.midst_of_capture,
                   .whole_sequence = replica.whole_sequence,
                   .consistency = replica.consistency};
  ASSIGN_OR_RETURN(view.state, model::ParseVolumeState(replica.state));
  return view;
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

class GrpcSiteAgents : public SiteAgents {
 public:
  GrpcSiteAgents(net::TlsFiles tls, FailoverWay way, std::stop_token stop, std::map<std::string, PairConnections> pairs)
      : tls_(std::move(tls)), way_(way), stop_(std::move(stop)), pairs_(std::move(pairs)) {}

  std::vector<std::string> Pairs() const override {
    std::vector<std::string> names;
    for (const auto& [name, connections] : pairs_) names.push_back(name);
    return names;
  }

  std::vector<std::string> ServerNames(const std::string& pair) const override {
    const auto found = pairs_.find(pair);
    return found == pairs_.end() ? std::vector<std::string>() : found->second.pair.server_names;
  }

  absl::StatusOr<std::vector<SourceView>> Sources(const std::string& pair) override { return Of(pair).source.List(); }
  absl::Status SetSourceExport(const std::string& pair, const std::string& volume, model::ExportMode mode) override {
    return Of(pair).source.SetExport(volume, mode);
  }
  absl::StatusOr<model::Sequence> Sync(const std::string& pair, const std::string& volume, absl::Duration timeout,
                                       const std::function<void(const std::string&)>& on_progress,
                                       std::stop_token stop) override {
    return SyncAt(Of(pair).source.primary(), volume, timeout, on_progress, std::move(stop));
  }
  absl::Status Pause(const std::string& pair, const std::string& volume) override {
    return Of(pair).source.primary().Pause(volume).status();
  }
  absl::Status Resume(const std::string& pair, const std::string& volume) override {
    return Of(pair).source.primary().Resume(volume).status();
  }

  absl::StatusOr<std::vector<ReplicaView>> Replicas(const std::string& pair) override {
    ASSIGN_OR_RETURN(std::vector<DrReplica> replicas, Of(pair).replicas.ListReplicas());
    if (way_ == FailoverWay::kNone) {
      ASSIGN_OR_RETURN(const std::vector<DrReplica> others, Of(pair).source.OtherReplicas());
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

  absl::StatusOr<std::optional<absl::Time>> ConfirmedAt(const std::string& pair, const ReplicaView& replica) override {
    ASSIGN_OR_RETURN(const std::vector<model::Confirmation> confirmed, Of(pair).freshness.List());
    for (const model::Confirmation& one : confirmed) {
      const bool fits = one.volume == replica.volume && one.epoch == replica.epoch && one.sequence == replica.sequence;
      if (fits) return one.as_of;
    }
    return std::nullopt;
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
    ASSIGN_OR_RETURN(VerifyOutcome outcome, AskToVerify(needs_dr_only ? addresses.dr : addresses.primary, tls_, volume,
                                                        depth, on_progress, stop_));
    return Findings{.counts = outcome.counts, .differences = std::move(outcome.differences)};
  }

  absl::Status Rewind(const std::string& pair, const std::string& volume, model::Sequence sequence,
                      const std::function<void(const std::string&)>& on_progress) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsOf(pair));
    return points.Rewind(volume, sequence, [&](uint64_t done, uint64_t total) {
      on_progress(fmt::format("{} of {} undo records", done, total));
    });
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
    return Of(pair).turn.LiveVolumes();
  }
  absl::Status Turn(const std::string& pair, const std::string& volume, const std::string& run,
                    const PromotionWatch& watch) override {
    return Of(pair).turn.Turn(volume, run, watch);
  }
  absl::StatusOr<model::Sequence> SyncTurned(const std::string& pair, const std::string& volume, absl::Duration timeout,
                                             const std::function<void(const std::string&)>& on_progress,
                                             std::stop_token stop) override {
    return Of(pair).turn.Sync(volume, timeout, on_progress, std::move(stop));
  }

  absl::StatusOr<model::Sequence> LabelNewest(const std::string& pair, const std::string& volume,
                                              const std::string& label) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsOf(pair));
    return points.Label(volume, std::nullopt, label, /*pinned=*/true);
  }
  absl::StatusOr<model::RecoveryPoints> Points(const std::string& pair, const std::string& volume) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsOf(pair));
    return points.List(volume);
  }
  absl::Status SetPinned(const std::string& pair, const std::string& volume, model::Sequence sequence,
                         const std::string& label, bool pinned) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsOf(pair));
    return points.Label(volume, sequence, label, pinned).status();
  }
  absl::Status Unlabel(const std::string& pair, const std::string& volume, model::Sequence sequence) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsOf(pair));
    return points.Unlabel(volume, sequence);
  }
  absl::StatusOr<model::PointTree> Materialise(const std::string& pair, const TreeWish& wish,
                                               const std::function<void(const std::string&)>& on_progress) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsOf(pair));
    return points.Materialise(
        {.volume = wish.volume, .sequence = wish.sequence, .path = wish.path, .writable = true},
        [&](uint64_t done, uint64_t total) { on_progress(fmt::format("{} of {} undo records", done, total)); });
  }
  absl::StatusOr<std::vector<model::PointTree>> Trees(const std::string& pair) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsOf(pair));
    return points.ListTrees();
  }
  absl::Status RemoveTree(const std::string& pair, const std::string& id) override {
    ASSIGN_OR_RETURN(const PointsClient points, PointsOf(pair));
    return points.RemoveTree(id).status();
  }

 private:
  [[nodiscard]] absl::StatusOr<PointsClient> PointsOf(const std::string& pair) const {
    return PointsClient::Create(Of(pair).pair.dr, tls_, stop_);
  }
  [[nodiscard]] const PairConnections& Of(const std::string& pair) const {
    const auto found = pairs_.find(pair);
    UNDERSTUDY_CHECK(found != pairs_.end());
    return found->second;
  }

  const net::TlsFiles tls_;
  const FailoverWay way_;
  const std::stop_token stop_;
  const std::map<std::string, PairConnections> pairs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SiteAgents>> ConnectSites(const config::ControlConfig& config, FailoverWay way,
                                                         std::stop_token stop) {
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  std::map<std::string, PairConnections> pairs;
  for (const config::PairConfig& configured : config.pairs) {
    config::PairConfig pair = configured;
    if (way == FailoverWay::kBack) {
      if (!pair.reverse) return NoWayBack(pair);
      pair = config::Reversed(pair);
    }
    std::optional<std::string> other_dr;
    if (configured.reverse) other_dr = way == FailoverWay::kBack ? configured.dr : configured.reverse->dr;
    ASSIGN_OR_RETURN(SourceAgents source, SourceAgents::Create(pair.primary, other_dr, tls, stop));
    ASSIGN_OR_RETURN(ReplicaClient replicas, ReplicaClient::Create(pair.dr, tls, stop));
    ASSIGN_OR_RETURN(StandbyClient standby, StandbyClient::Create(pair.dr, tls, stop));
    ASSIGN_OR_RETURN(FreshnessClient freshness, FreshnessClient::Create(pair.dr, tls, stop));
    const auto catalog_at = [&](const std::string& address) -> absl::StatusOr<std::unique_ptr<wire::CatalogClient>> {
      ASSIGN_OR_RETURN(auto channel, net::MakeChannel({address, tls, net::Role::kControl, net::Role::kDr}));
      return std::make_unique<wire::CatalogClient>(std::move(channel), wire::CatalogClientOptions{.stop = stop});
    };
    ASSIGN_OR_RETURN(auto catalog, catalog_at(pair.dr));
    std::unique_ptr<wire::CatalogClient> other_catalog;
    if (way != FailoverWay::kToDr && pair.reverse) {
      ASSIGN_OR_RETURN(other_catalog, catalog_at(pair.reverse->dr));
    }
    pairs.emplace(pair.name, PairConnections{.pair = pair,
                                             .source = std::move(source),
                                             .replicas = std::move(replicas),
                                             .standby = std::move(standby),
                                             .freshness = std::move(freshness),
                                             .turn = TurnAgents(configured, tls, stop),
                                             .catalog = std::move(catalog),
                                             .other_catalog = std::move(other_catalog)});
  }
  return std::make_unique<GrpcSiteAgents>(tls, way, std::move(stop), std::move(pairs));
}

}  // namespace understudy::control
