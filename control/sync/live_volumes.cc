#include "control/sync/live_volumes.h"

#include <fmt/format.h>

#include "core/model/volume.h"

namespace understudy::control {

std::string LiveVolumes::WhyLeftAlone(const std::string& pair, const std::string& volume) const {
  if (volume.empty()) return "";
  for (const auto& [place, state] : states) {
    if (place.second != volume || (!pair.empty() && place.first != pair)) continue;
    if (direction == Direction::kToPrimary) {
      return fmt::format(
          "is left as it is at the primary: volume '{}' isn't replicated from DR (it is {}; `drctl volumes list` says "
          "which way each goes)",
          volume, state);
    }
    if (!model::ParseVolumeState(state).ok()) {
      return fmt::format(
          "is left as it is at DR: volume '{}' isn't replicated from the primary (it is {}; `drctl volumes list` says "
          "which way each goes)",
          volume, state);
    }
    return fmt::format(
        "is left as it is at DR: volume '{0}' is {1} there, its copy is the live one (`drctl volumes demote "
        "{0}` gives the word back to the primary)",
        volume, state);
  }
  return "";
}

std::string LiveVolumes::WhyNotDeleted(const std::string& pair, const std::string& volume) const {
  std::string why = WhyLeftAlone(pair, volume);
  if (!why.empty() || volume.empty()) return why;
  for (const auto& [name, unknown] : others) {
    if ((!pair.empty() && name != pair) || standby.contains({name, volume})) continue;
    return fmt::format(
        "is left as it is at DR: pair {} has no replica of volume '{}' there, and it can't be told whether that lives "
        "at DR: {}",
        name, volume, MessageOf(unknown));
  }
  return "";
}

LiveVolumes ReadLiveVolumes(const std::vector<PairAgents*>& pairs, Direction direction) {
  LiveVolumes live;
  live.direction = direction;
  for (PairAgents* const pair : pairs) {
    const absl::StatusOr<LiveCopies> found = pair->LiveAtDr();
    live.known.Update(Annotate(found.status(), "pair " + pair->name()));
    if (found.ok()) {
      for (const auto& [volume, state] : found->states) live.states[{pair->name(), volume}] = state;
      for (const std::string& volume : found->standby) live.standby.emplace(pair->name(), volume);
      if (!found->others.ok()) live.others[pair->name()] = found->others;
    }
    if (direction != Direction::kToPrimary) continue;
    const absl::StatusOr<std::set<std::string>> carried = pair->Carried();
    const bool carries_none = carried.ok() && carried->empty();
    const absl::Status& known = carried.ok() && !carries_none ? found.status() : carried.status();
    live.carried_known.Update(Annotate(known, "pair " + pair->name()));
    if (!known.ok()) continue;
    for (const std::string& volume : *carried) live.carried.emplace(pair->name(), volume);
  }
  live.known.Update(live.carried_known);
  return live;
}

}  // namespace understudy::control
