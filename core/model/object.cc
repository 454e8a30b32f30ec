#include "core/model/object.h"

#include <fmt/format.h>

namespace understudy::model {

std::string_view ToString(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kPersistentVolume:
      return "PersistentVolume";
    case ObjectKind::kPersistentVolumeClaim:
      return "PersistentVolumeClaim";
    case ObjectKind::kVolumeSnapshot:
      return "VolumeSnapshot";
    case ObjectKind::kVolumeSnapshotContent:
      return "VolumeSnapshotContent";
  }
  AbortOnBrokenInvariant("known ObjectKind", __FILE__, __LINE__);
}

absl::StatusOr<ObjectKind> ParseObjectKind(std::string_view text) {
  for (const ObjectKind kind : {ObjectKind::kPersistentVolume, ObjectKind::kPersistentVolumeClaim,
                                ObjectKind::kVolumeSnapshot, ObjectKind::kVolumeSnapshotContent}) {
    if (text == ToString(kind)) return kind;
  }
  return absl::InvalidArgumentError(fmt::format(
      "unknown kind '{}': PersistentVolume, PersistentVolumeClaim, VolumeSnapshot and VolumeSnapshotContent are taken",
      text));
}

std::string_view ToString(EventType type) {
  switch (type) {
    case EventType::kAdded:
      return "ADDED";
    case EventType::kModified:
      return "MODIFIED";
    case EventType::kDeleted:
      return "DELETED";
  }
  AbortOnBrokenInvariant("known EventType", __FILE__, __LINE__);
}

absl::StatusOr<EventType> ParseEventType(std::string_view text) {
  for (const EventType type : {EventType::kAdded, EventType::kModified, EventType::kDeleted}) {
    if (text == ToString(type)) return type;
  }
  return absl::InvalidArgumentError(fmt::format("unknown event type '{}': use ADDED, MODIFIED or DELETED", text));
}

std::string ToString(const ObjectKey& key) {
  if (key.namespace_name.empty()) return fmt::format("{} {}", ToString(key.kind), key.name);
  return fmt::format("{} {}/{}", ToString(key.kind), key.namespace_name, key.name);
}

}  // namespace understudy::model
