#include "control/commands/turn_agents.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "control/commands/agents_client.h"
#include "control/commands/reprotect_client.h"
#include "control/commands/source_agents.h"

namespace understudy::control {
namespace {

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

}  // namespace

absl::Status NoWayBack(const config::PairConfig& pair) {
  return absl::InvalidArgumentError(
      fmt::format("pair {}: the configuration doesn't say which agents carry replication the other way: add `reverse: "
                  "{{primary: …, dr: …}}` with understudy-primary of DR's host and understudy-dr of the primary's",
                  pair.name));
}

absl::StatusOr<std::vector<LiveView>> TurnAgents::LiveVolumes() const {
  if (!pair_.reverse) return NoWayBack(pair_);
  std::vector<DrReplica> at_dr;
  std::vector<DrReplica> at_primary;
  for (const bool primary_host : {false, true}) {
    ASSIGN_OR_RETURN(const ReplicaClient replicas,
                     ReplicaClient::Create(primary_host ? pair_.reverse->dr : pair_.dr, tls_, stop_));
    ASSIGN_OR_RETURN((primary_host ? at_primary : at_dr), replicas.ListReplicas());
    ASSIGN_OR_RETURN(const PrimaryClient primary,
                     PrimaryClient::Create(primary_host ? pair_.primary : pair_.reverse->primary, tls_, stop_));
    RETURN_IF_ERROR(primary.ListVolumes().status());
  }
  return LiveOf(at_dr, at_primary);
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
