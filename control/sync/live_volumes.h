// live_volumes.h: the volumes whose live copy is at the site that a run brings objects to, over which the other has no
// say. Pure, but for ReadLiveVolumes.
//
// DR's catalog refuses to change what belongs to such a volume, whoever asks, and is asked again for each object
// (model::CatalogWriter). What is read here once for a run says so beforehand, and for what no catalog has any more.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/sync/direction.h"
#include "control/sync/ports.h"
#include "core/base/status.h"

namespace understudy::control {

struct LiveVolumes {
  std::map<std::pair<std::string, std::string>, std::string> states;  // of the replica, by pair and volume
  absl::Status known;                                                 // else why it isn't known of a pair
  Direction direction = Direction::kToDr;                             // of the run
  // Of a run to the primary: the volumes that go this way, or why these aren't known of a pair.
  std::set<std::pair<std::string, std::string>> carried = {};
  absl::Status carried_known = {};
  // LiveCopies' `standby`, and its `others` by pair where they aren't known.
  std::set<std::pair<std::string, std::string>> standby = {};
  std::map<std::string, absl::Status> others = {};

  // Why the objects of the volume are left as they are at DR; empty: they aren't. `pair` empty: any.
  [[nodiscard]] std::string WhyLeftAlone(const std::string& pair, const std::string& volume) const;
  // As WhyLeftAlone, of what is to be deleted: that takes to know that the live copy isn't DR's.
  [[nodiscard]] std::string WhyNotDeleted(const std::string& pair, const std::string& volume) const;
};

[[nodiscard]] LiveVolumes ReadLiveVolumes(const std::vector<PairAgents*>& pairs,
                                          Direction direction = Direction::kToDr);

}  // namespace understudy::control
