// unclaimed_volumes.h: PersistentVolumes that refer to no claim, until a claim of a watched namespace names one of
// them.
//
// Only spec.volumeName of the claim says then that the volume is its; either of the two may be seen first. Pure.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "core/model/object.h"

namespace understudy::primary {

// Not thread-safe. Keeps the newest state of each volume without a claim, in memory.
class UnclaimedVolumes {
 public:
  // Whether this event of a PersistentVolume is to be taken: it is `taken` anyway by its own reference, or a claim that
  // was seen names it.
  [[nodiscard]] bool TakesVolume(const model::ObjectEvent& event, bool taken);

  // `event` is of a claim of a watched namespace. The newest event of its volume, if that wasn't taken so far.
  [[nodiscard]] std::optional<model::ObjectEvent> VolumeOfClaim(const model::ObjectEvent& event);

 private:
  std::map<std::string, model::ObjectEvent> unclaimed_;      // by the volume's name
  std::map<std::string, std::set<model::ObjectKey>> named_;  // claims by the volume that they name
  std::map<model::ObjectKey, std::string> volume_of_;        // the other way round
};

}  // namespace understudy::primary
