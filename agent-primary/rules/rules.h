// rules.h: which object event leads to which action: the built-in rules. Pure.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "core/kube/nfs_source.h"
#include "core/model/object.h"

namespace understudy::primary {

using kube::NfsSource;

// nullopt: not an NFS volume.
[[nodiscard]] std::optional<NfsSource> NfsSourceOf(const std::string& persistent_volume_json);

struct Action {
  enum class Kind {
    kIgnore,      // nothing to do, for `reason`
    kHold,        // would be taken, but can't be yet, for `reason`
    kSyncVolume,  // replicate `source` as `volume`; when its data is across, put the object into the catalog
    kSyncClaim,   // when the data of `volume` is across, put the object into the catalog
    kDelete,      // take the object out of the catalog; a PersistentVolume's volume is no longer replicated, and its
                  // data goes to DR's trash
  };
  Kind kind = Kind::kIgnore;
  model::ObjectKey key = {};
  std::string uid = {};       // metadata.uid
  std::string resource = {};  // JSON of the object
  absl::Time observed_at = {};
  std::string volume = {};  // the PersistentVolume's name
  NfsSource source = {};    // of kSyncVolume, and of kDelete of a PersistentVolume; else empty
  std::string reason = {};
  std::string event_id = {};  // of the event that led to it; empty when none did
};

// Never fails: an event that can't be understood is ignored, with the reason.
[[nodiscard]] Action Decide(const model::ObjectEvent& event);

}  // namespace understudy::primary
