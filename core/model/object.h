// object.h: Kubernetes storage objects as both planes pass them on. Values.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "nlohmann/json_fwd.hpp"

namespace understudy::model {

enum class ObjectKind { kPersistentVolume, kPersistentVolumeClaim, kVolumeSnapshot, kVolumeSnapshotContent };
// "PersistentVolume", …: the `kind` of the Kubernetes API.
[[nodiscard]] std::string_view ToString(ObjectKind kind);
[[nodiscard]] absl::StatusOr<ObjectKind> ParseObjectKind(std::string_view text);

enum class EventType { kAdded, kModified, kDeleted };
// "ADDED", "MODIFIED", "DELETED".
[[nodiscard]] std::string_view ToString(EventType type);
[[nodiscard]] absl::StatusOr<EventType> ParseEventType(std::string_view text);

struct ObjectKey {
  ObjectKind kind = ObjectKind::kPersistentVolume;
  std::string namespace_name;  // empty for PersistentVolume and VolumeSnapshotContent
  std::string name;
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};
// "PersistentVolumeClaim shop/db-data": for messages.
[[nodiscard]] std::string ToString(const ObjectKey& key);

// The object event of the design: from a watch or from the webhook.
struct ObjectEvent {
  EventType type = EventType::kAdded;
  ObjectKey key;
  std::string resource;  // JSON of the whole object, without metadata.managedFields
  std::string event_id;
  absl::Time observed_at;
  // Of a DELETED: nobody saw it happen; the object is missing from a list. EventSink::OnSynced for that list follows.
  bool concluded = false;
};

// One entry of DR's catalog.
struct CatalogEntry {
  ObjectKey key;
  std::string uid;           // metadata.uid at the primary
  std::string resource;      // JSON as the primary's API server gave it, without managedFields
  std::string volume;        // that holds its data; empty when none
  std::string replica_path;  // absolute path of that data at DR, bytes
  std::string server;        // NFS server as the primary cluster names it
  bool deleted = false;
  uint64_t revision = 0;  // rises with every change of the catalog
  absl::Time observed_at;
};

}  // namespace understudy::model
