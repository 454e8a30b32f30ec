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

LiveVolumes ReadLiveVolumes(const std::vector<PairAgents*>& pairs, Direction direction) {
  LiveVolumes live;
  live.direction = direction;
  for (PairAgents* const pair : pairs) {
    const absl::StatusOr<std::map<std::string, std::string>> found = pair->LiveAtDr();
    if (!found.ok()) {
      live.known.Update(Annotate(found.status(), "pair " + pair->name()));
      continue;
    }
    for (const auto& [volume, state] : *found) live.states[{pair->name(), volume}] = state;
    if (direction != Direction::kToPrimary) continue;
    const absl::StatusOr<std::set<std::string>> carried = pair->Carried();
    live.known.Update(Annotate(carried.status(), "pair " + pair->name()));
    if (!carried.ok()) continue;
    for (const std::string& volume : *carried) live.carried.emplace(pair->name(), volume);
  }
  return live;
}

}  // namespace understudy::control
