#include "core/model/object.h"

#include "absl/strings/str_cat.h"

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
  return absl::InvalidArgumentError(absl::StrCat("unknown kind '", text,
                                                 "': PersistentVolume, PersistentVolumeClaim, VolumeSnapshot and "
                                                 "VolumeSnapshotContent are taken"));
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
  return absl::InvalidArgumentError(absl::StrCat("unknown event type '", text, "': use ADDED, MODIFIED or DELETED"));
}

std::string ToString(const ObjectKey& key) {
  if (key.namespace_name.empty()) return absl::StrCat(ToString(key.kind), " ", key.name);
  return absl::StrCat(ToString(key.kind), " ", key.namespace_name, "/", key.name);
}

}  // namespace understudy::model
