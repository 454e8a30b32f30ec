#include "control/commands/turn_agents.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "control/commands/agents_client.h"
#include "control/commands/reprotect_client.h"
#include "control/commands/source_agents.h"

namespace understudy::control {
namespace {

// Of the two sides' understudy-dr: what is promoted there.
void AddLive(const std::vector<DrReplica>& replicas, bool at_primary, std::map<std::string, LiveView>& live) {
  for (const DrReplica& replica : replicas) {
    if (replica.state != "active") continue;
    LiveView& known = live[replica.name];
    if (!known.volume.empty() && known.epoch >= replica.epoch) continue;
    known = {.volume = replica.name,
             .at_primary = at_primary,
             .epoch = replica.epoch,
             .root = replica.root,
             .turned = replica.reprotected};
  }
}

}  // namespace

absl::Status NoWayBack(const config::PairConfig& pair) {
  return absl::InvalidArgumentError(
      fmt::format("pair {}: the configuration doesn't say which agents carry replication the other way: add `reverse: "
                  "{{primary: …, dr: …}}` with understudy-primary of DR's host and understudy-dr of the primary's",
                  pair.name));
}

absl::StatusOr<std::vector<LiveView>> TurnAgents::LiveVolumes() const {
  if (!pair_.reverse) return NoWayBack(pair_);
  std::map<std::string, LiveView> live;
  for (const bool at_primary : {false, true}) {
    ASSIGN_OR_RETURN(const ReplicaClient replicas,
                     ReplicaClient::Create(at_primary ? pair_.reverse->dr : pair_.dr, tls_, stop_));
    ASSIGN_OR_RETURN(const std::vector<DrReplica> listed, replicas.ListReplicas());
    AddLive(listed, at_primary, live);
    ASSIGN_OR_RETURN(const PrimaryClient primary,
                     PrimaryClient::Create(at_primary ? pair_.primary : pair_.reverse->primary, tls_, stop_));
    RETURN_IF_ERROR(primary.ListVolumes().status());
  }
  std::vector<LiveView> views;
  for (auto& [name, view] : live) views.push_back(std::move(view));
  return views;
}

absl::Status TurnAgents::Turn(const std::string& volume, const std::string& run, const PromotionWatch& watch) const {
  ASSIGN_OR_RETURN(const LiveView live, LiveVolume(volume));
  ASSIGN_OR_RETURN(const ReprotectAgents agents, AgentsToTurn(pair_, live.at_primary));
  ASSIGN_OR_RETURN(const ReprotectClient client, ReprotectClient::Create(agents, tls_, stop_));
  ASSIGN_OR_RETURN(const ReplicaClient other, ReplicaClient::Create(agents.other_dr, tls_, stop_));
  ASSIGN_OR_RETURN(const std::vector<DrReplica> replicas, other.ListReplicas());
  const auto known =
      std::find_if(replicas.begin(), replicas.end(), [&](const DrReplica& replica) { return replica.name == volume; });
  return client
      .Reprotect({.volume = volume,
                  .epoch = live.epoch,
                  .live_path = live.root,
                  .other_path = known == replicas.end() ? "" : known->root,
                  .run = run},
                 {.on_step = watch.on_step, .on_hook = watch.on_hook})
      .status();
}

absl::StatusOr<model::Sequence> TurnAgents::Sync(const std::string& volume, absl::Duration timeout,
                                                 const std::function<void(const std::string&)>& on_progress,
                                                 std::stop_token stop) const {
  ASSIGN_OR_RETURN(const LiveView live, LiveVolume(volume));
  ASSIGN_OR_RETURN(const ReprotectAgents agents, AgentsToTurn(pair_, live.at_primary));
  ASSIGN_OR_RETURN(const PrimaryClient primary, PrimaryClient::Create(agents.live_primary, tls_, stop_));
  return SyncAt(primary, volume, timeout, on_progress, std::move(stop));
}

absl::StatusOr<LiveView> TurnAgents::LiveVolume(const std::string& volume) const {
  ASSIGN_OR_RETURN(const std::vector<LiveView> live, LiveVolumes());
  for (const LiveView& view : live) {
    if (view.volume == volume) return view;
  }
  return absl::FailedPreconditionError(fmt::format("volume {} isn't promoted at either site", volume));
}

}  // namespace understudy::control
