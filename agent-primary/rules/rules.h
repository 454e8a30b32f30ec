// rules.h: which object event leads to which action: the built-in rules. Pure.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "agent-primary/rules/volume_actions.h"
#include "core/kube/nfs_source.h"
#include "core/model/object.h"

namespace understudy::primary {

using kube::NfsSource;

// Of the data that an object stands for: a PersistentVolume's, or the folder of a VolumeSnapshotContent's archive.
// nullopt: it isn't on NFS, or the object has no data of its own.
[[nodiscard]] std::optional<NfsSource> DataSourceOf(model::ObjectKind kind, const std::string& object_json);

// What has data of its own: PersistentVolumes and VolumeSnapshotContents. Its name is that of the replicated volume.
[[nodiscard]] bool HasData(model::ObjectKind kind);

struct Action {
  enum class Kind {
    kIgnore,       // nothing to do, for `reason`
    kSyncVolume,   // replicate `source` as `volume`; when its data is across, put the object into the catalog
    kPauseVolume,  // stop replicating `volume`: who reclaims it takes its data away first, its object last
    kSyncClaim,    // of a claim or a snapshot: when the data of `volume` is across, put the object into the catalog
    kDelete,       // take the object out of the catalog; what has data is no longer replicated, and its data goes to
                   // DR's trash
  };
  Kind kind = Kind::kIgnore;
  model::ObjectKey key = {};
  std::string uid = {};       // metadata.uid
  std::string resource = {};  // JSON of the object
  absl::Time observed_at = {};
  std::string volume = {};  // the name of the PersistentVolume or VolumeSnapshotContent with the data
  NfsSource source = {};    // of kSyncVolume, kPauseVolume, and kDelete of what has data; else empty
  std::string reason = {};
  bool never_replicated = false;  // of kIgnore: what has data, but not on NFS; nothing needs to wait for it
  bool admitted = false;          // of kDelete: the guard on deletions has let it pass
  bool held = false;              // the newest try was: DR keeps the object as it is while its volume is promoted
  bool is_released = false;       // of kSyncVolume: its claim is gone; a volume that is paused stays so
  std::string owner_uid = {};     // of what has data: the claim or snapshot that it says it is bound to
  bool goes_with_owner = false;   // of kSyncVolume: its data is deleted when its claim is (reclaim policy Delete)
  BarrierWait barrier = {};       // of what is tried again: goes on
  std::string event_id = {};      // of the event that led to it; empty when none did
};

// The object whose data `action` is about.
[[nodiscard]] model::ObjectKey DataKeyOf(const Action& action);

// Never fails: an event that can't be understood is ignored, with the reason.
[[nodiscard]] Action Decide(const model::ObjectEvent& event);

}  // namespace understudy::primary
