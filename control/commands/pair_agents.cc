#include "control/commands/pair_agents.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "control/commands/agents_client.h"
#include "control/commands/reprotect_client.h"
#include "control/commands/sync_watch.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/model/epoch.h"
#include "core/model/path.h"
#include "core/model/volume.h"
#include "core/net/channel.h"
#include "core/wire/catalog_client.h"

namespace understudy::control {
namespace {

ProtectedVolume ToProtected(const PrimaryVolume& volume) {
  return {.replica_path = volume.replica_path, .sequence = volume.sequence};
}

// The agents of the other direction.
struct OtherAgents {
  PrimaryClient primary;
  ReplicaClient replicas;
  ReprotectClient turn;  // to this direction
};

bool Overlap(const std::string& a, const std::string& b) {
  return model::IsWithin(a, b) || model::IsWithin(b, a);
}

absl::StatusOr<std::map<std::string, CopyState>> CopiesAt(const ReplicaClient& client) {
  ASSIGN_OR_RETURN(const std::vector<DrReplica> replicas, client.ListReplicas());
  std::map<std::string, CopyState> copies;
  for (const DrReplica& replica : replicas) copies[replica.name] = CopyOf(replica);
  return copies;
}

class GrpcPairAgents : public PairAgents {
 public:
  GrpcPairAgents(config::PairConfig pair, Direction direction, PrimaryClient primary, ReplicaClient replicas,
                 std::optional<OtherAgents> other, std::unique_ptr<wire::CatalogClient> catalog)
      : pair_(std::move(pair)),
        direction_(direction),
        primary_(std::move(primary)),
        replicas_(std::move(replicas)),
        other_(std::move(other)),
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
    if (direction_ == Direction::kToPrimary) RETURN_IF_ERROR(KeepFromPrimary(volume, source));
    ASSIGN_OR_RETURN(const PrimaryVolume known, primary_.Protect(volume, source));
    return ToProtected(known);
  }

  absl::StatusOr<ProtectedVolume> Sync(const std::string& volume, absl::Duration timeout,
                                       std::stop_token stop) override {
    const Clock& clock = Clock::System();
    SyncWatch watch;
    const absl::StatusOr<PrimaryVolume> synced = primary_.Sync(
        volume, {}, timeout, [&](const PrimaryVolume& report) { (void)watch.OnReport(report, clock.Monotonic()); },
        std::move(stop));
    if (!synced.ok()) return watch.Explain(synced.status(), timeout, clock.Monotonic());
    return ToProtected(*synced);
  }

  absl::Status Release(const std::string& volume, const kube::NfsSource& source) override {
    RETURN_IF_ERROR(primary_.Release(volume, source));
    if (direction_ != Direction::kToPrimary) return absl::OkStatus();
    RETURN_IF_ERROR(other_->primary.ForgetHandOver(volume));
    return other_->replicas.ForgetMadeHere(volume);
  }

  absl::StatusOr<LiveCopies> LiveAtDr() override {
    ASSIGN_OR_RETURN(const std::vector<DrReplica> replicas, replicas_.ListReplicas());
    const bool back = direction_ == Direction::kToPrimary;
    LiveCopies live;
    for (const DrReplica& replica : replicas) {
      if (!CopyOf(replica).standby) {
        live.states[replica.name] = replica.state;
      } else if (!back) {
        live.standby.insert(replica.name);
      }
    }
    if (!other_) return live;
    const auto ways = Ways();
    if (back) RETURN_IF_ERROR(ways.status());
    live.others = ways.status();
    if (!ways.ok()) return live;
    for (const auto& [volume, way] : *ways) {
      const bool goes_here = way.direction == direction_;
      if (!goes_here) live.states.try_emplace(volume, way.live_at_dr ? "live at DR" : "live at the primary");
    }
    return live;
  }

  absl::StatusOr<std::set<std::string>> Carried() override {
    const auto ways = Ways();
    if (!ways.ok() && NothingTurned()) return std::set<std::string>();
    RETURN_IF_ERROR(ways.status());
    std::set<std::string> carried;
    for (const auto& [volume, way] : *ways) {
      if (way.direction == direction_) carried.insert(volume);
    }
    return carried;
  }

  model::CatalogWriter& catalog() override { return *catalog_; }
  SnapshotCheck& snapshots() override { return snapshots_; }

 private:
  // Of all volumes that either side has a replica of, or that the primary's agent has charge of.
  absl::StatusOr<std::map<std::string, VolumeWay>> Ways() const {
    const bool reversed = direction_ == Direction::kToPrimary;
    ASSIGN_OR_RETURN(const auto at_dr, CopiesAt(reversed ? other_->replicas : replicas_));
    ASSIGN_OR_RETURN(const auto at_primary, CopiesAt(reversed ? replicas_ : other_->replicas));
    ASSIGN_OR_RETURN(const PrimaryVolumes sources, (reversed ? other_->primary : primary_).ListVolumes());
    std::map<std::string, Copies> copies;
    for (const PrimaryVolume& source : sources.volumes) {
      if (source.state != kHandedOver) copies[source.name] = {};
    }
    for (const auto& [volume, copy] : at_dr) copies[volume].at_dr = copy;
    for (const auto& [volume, copy] : at_primary) copies[volume].at_primary = copy;
    std::map<std::string, VolumeWay> ways;
    for (const auto& [volume, known] : copies) ways[volume] = WayOf(known);
    return ways;
  }

  // As far as DR's host can tell, of agents that carry to the primary: no replica there is turned round, and what sends
  // to the primary says, if it can be asked, that it has nothing to send.
  bool NothingTurned() const {
    const auto at_dr = other_->replicas.ListReplicas();
    if (!at_dr.ok() || std::any_of(at_dr->begin(), at_dr->end(), IsTurned)) return false;
    const auto sent = primary_.ListVolumes();
    return !sent.ok() || std::all_of(sent->volumes.begin(), sent->volumes.end(),
                                     [](const PrimaryVolume& volume) { return volume.state == kHandedOver; });
  }

  // What is at DR is live and stays so, whatever the primary's agents forget: those of DR know it first.
  absl::Status KeepFromPrimary(const std::string& volume, const kube::NfsSource& source) {
    ASSIGN_OR_RETURN(const PrimaryVolumes sources, other_->primary.ListVolumes());
    ASSIGN_OR_RETURN(const std::vector<DrReplica> at_dr, other_->replicas.ListReplicas());
    const auto known = std::find_if(sources.volumes.begin(), sources.volumes.end(),
                                    [&](const PrimaryVolume& other) { return other.name == volume; });
    const auto live =
        std::find_if(at_dr.begin(), at_dr.end(), [&](const DrReplica& replica) { return replica.name == volume; });
    const bool handed_over = known != sources.volumes.end() && known->state == kHandedOver;
    if (live != at_dr.end() && live->reprotected) {
      return handed_over ? absl::OkStatus() : other_->turn.HandOver({.volume = volume, .epoch = live->epoch}).status();
    }
    if (known != sources.volumes.end() && !handed_over) {
      return absl::FailedPreconditionError(fmt::format(
          "volume '{}' is replicated from the primary: what is at DR is a copy, or another one of that name", volume));
    }
    ASSIGN_OR_RETURN(const PrimaryVolume place, primary_.Locate(volume, source));
    RETURN_IF_ERROR(CheckFreeAtPrimary(place, sources));
    return RecordMadeAtDr(place);
  }

  static absl::Status CheckFreeAtPrimary(const PrimaryVolume& place, const PrimaryVolumes& sources) {
    for (const PrimaryVolume& other : sources.volumes) {
      if (other.name == place.name || other.state == kHandedOver || !Overlap(other.path, place.replica_path)) continue;
      return absl::FailedPreconditionError(fmt::format(
          "volume '{}' would go to '{}' at the primary, where '{}' of volume '{}' is: give it another folder "
          "there (`exports[].dr_path` of understudy-primary at DR)",
          place.name, Printable(place.replica_path), Printable(other.path), other.name));
    }
    return absl::OkStatus();
  }

  // In this order, so that whatever cuts it short, the volume is one that goes to the primary, and comes here again.
  absl::Status RecordMadeAtDr(const PrimaryVolume& place) {
    const StandbyWatch nobody{.on_step = [](const std::string&) {}, .on_hook = [](const model::HookResult&) {}};
    RETURN_IF_ERROR(
        other_->turn
            .Adopt({.volume = {place.name, place.replica_path, model::kFirstEpoch}, .run = "", .made_there = true},
                   nobody)
            .status());
    RETURN_IF_ERROR(
        other_->turn.LetGo({.volume = place.name, .epoch = model::kFirstEpoch, .root = place.path}).status());
    return other_->turn.HandOver({.volume = place.name, .epoch = model::kFirstEpoch}).status();
  }

  const config::PairConfig pair_;
  const Direction direction_;
  const PrimaryClient primary_;
  const ReplicaClient replicas_;
  const std::optional<OtherAgents> other_;  // nullopt: the pair has none
  const std::unique_ptr<wire::CatalogClient> catalog_;
  ArchiveCheck snapshots_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PairAgents>> ConnectPair(const config::ControlConfig& config,
                                                        const config::PairConfig& pair, Direction direction) {
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  const config::PairConfig way = direction == Direction::kToPrimary ? config::Reversed(pair) : pair;
  ASSIGN_OR_RETURN(PrimaryClient primary, PrimaryClient::Create(way.primary, tls));
  ASSIGN_OR_RETURN(ReplicaClient replicas, ReplicaClient::Create(way.dr, tls));
  ASSIGN_OR_RETURN(auto channel, net::MakeChannel({way.dr, tls, net::Role::kControl, net::Role::kDr}));
  std::optional<OtherAgents> other;
  if (way.reverse) {
    ASSIGN_OR_RETURN(PrimaryClient other_primary, PrimaryClient::Create(way.reverse->primary, tls));
    ASSIGN_OR_RETURN(ReplicaClient other_replicas, ReplicaClient::Create(way.reverse->dr, tls));
    ASSIGN_OR_RETURN(ReprotectClient turn,
                     ReprotectClient::Create({way.reverse->dr, way.primary, way.reverse->primary, way.dr}, tls));
    other.emplace(OtherAgents{std::move(other_primary), std::move(other_replicas), std::move(turn)});
  }
  return std::make_unique<GrpcPairAgents>(way, direction, std::move(primary), std::move(replicas), std::move(other),
                                          std::make_unique<wire::CatalogClient>(std::move(channel)));
}

}  // namespace understudy::control
