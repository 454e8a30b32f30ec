#include "agent-primary/rules/rules.h"

#include <fmt/format.h>

#include "nlohmann/json.hpp"

namespace understudy::primary {
namespace {

using nlohmann::json;

// The object at `key` of `object`; an empty one when there is none.
const json& ObjectAt(const json& object, const char* key) {
  static const json kEmpty = json::object();
  const auto value = object.find(key);
  return value != object.end() && value->is_object() ? *value : kEmpty;
}

std::string StringAt(const json& object, std::string_view key) {
  const auto value = object.find(key);
  return value != object.end() && value->is_string() ? value->get<std::string>() : std::string();
}

Action Becomes(Action action, Action::Kind kind, std::string reason = {}) {
  action.kind = kind;
  action.reason = std::move(reason);
  return action;
}

// Of what will never be replicated: who depends on it needn't wait for it.
Action IsElsewhere(Action action, std::string reason) {
  action.never_replicated = true;
  return Becomes(std::move(action), Action::Kind::kIgnore, std::move(reason));
}

bool IsBeingDeleted(const json& object) {
  return !StringAt(ObjectAt(object, "metadata"), "deletionTimestamp").empty();
}

// A PersistentVolume whose claim is gone.
bool IsReleased(const json& object) {
  const std::string phase = StringAt(ObjectAt(object, "status"), "phase");
  return phase == "Released" || phase == "Failed";
}

// The data of a volume that goes with its claim is deleted as soon as that is gone, that of a snapshot as soon as its
// content is being deleted; the object goes when nothing is left.
bool IsBeingReclaimed(model::ObjectKind kind, const json& object) {
  const json& spec = ObjectAt(object, "spec");
  if (kind == model::ObjectKind::kPersistentVolume) {
    return StringAt(spec, "persistentVolumeReclaimPolicy") == "Delete" && IsReleased(object);
  }
  return kind == model::ObjectKind::kVolumeSnapshotContent && StringAt(spec, "deletionPolicy") == "Delete" &&
         IsBeingDeleted(object);
}

Action DecideVolume(Action action, const json& object) {
  const json& spec = ObjectAt(object, "spec");
  action.owner_uid = StringAt(ObjectAt(spec, "claimRef"), "uid");
  const std::optional<NfsSource> source = kube::NfsSourceOf(object);
  if (!source) return IsElsewhere(std::move(action), "isn't on NFS");
  action.source = *source;
  action.is_released = IsReleased(object);
  action.goes_with_owner = StringAt(spec, "persistentVolumeReclaimPolicy") == "Delete";
  return Becomes(std::move(action), Action::Kind::kSyncVolume);
}

Action DecideClaim(Action action, const json& object) {
  action.volume = StringAt(ObjectAt(object, "spec"), "volumeName");
  if (action.volume.empty()) return Becomes(std::move(action), Action::Kind::kIgnore, "isn't bound");
  return Becomes(std::move(action), Action::Kind::kSyncClaim);
}

bool IsReady(const json& object) {
  const json& status = ObjectAt(object, "status");
  const auto ready = status.find("readyToUse");
  return ready != status.end() && *ready == true;
}

// The folder of its archive is replicated as a volume of its own.
Action DecideContent(Action action, const json& object) {
  if (!IsReady(object)) return Becomes(std::move(action), Action::Kind::kIgnore, "isn't ready to use");
  action.owner_uid = StringAt(ObjectAt(ObjectAt(object, "spec"), "volumeSnapshotRef"), "uid");
  const std::optional<kube::NfsSnapshot> snapshot = kube::NfsSnapshotOf(object);
  if (!snapshot) {
    return IsElsewhere(std::move(action),
                       fmt::format("has no handle of driver {} that names an archive on NFS", kube::kNfsCsiDriver));
  }
  action.source = snapshot->folder;
  return Becomes(std::move(action), Action::Kind::kSyncVolume);
}

Action DecideSnapshot(Action action, const json& object) {
  if (!IsReady(object)) return Becomes(std::move(action), Action::Kind::kIgnore, "isn't ready to use");
  action.volume = StringAt(ObjectAt(object, "status"), "boundVolumeSnapshotContentName");
  if (action.volume.empty()) return Becomes(std::move(action), Action::Kind::kIgnore, "isn't bound");
  return Becomes(std::move(action), Action::Kind::kSyncClaim);
}

std::optional<NfsSource> SourceOf(model::ObjectKind kind, const json& object) {
  if (kind == model::ObjectKind::kPersistentVolume) return kube::NfsSourceOf(object);
  if (kind != model::ObjectKind::kVolumeSnapshotContent) return std::nullopt;
  std::optional<kube::NfsSnapshot> snapshot = kube::NfsSnapshotOf(object);
  return snapshot ? std::optional(std::move(snapshot->folder)) : std::nullopt;
}

}  // namespace

std::optional<NfsSource> DataSourceOf(model::ObjectKind kind, const std::string& object_json) {
  return SourceOf(kind, json::parse(object_json, nullptr, /*allow_exceptions=*/false));
}

bool HasData(model::ObjectKind kind) {
  return kind == model::ObjectKind::kPersistentVolume || kind == model::ObjectKind::kVolumeSnapshotContent;
}

model::ObjectKey DataKeyOf(const Action& action) {
  const bool of_snapshot = action.key.kind == model::ObjectKind::kVolumeSnapshot ||
                           action.key.kind == model::ObjectKind::kVolumeSnapshotContent;
  return {.kind = of_snapshot ? model::ObjectKind::kVolumeSnapshotContent : model::ObjectKind::kPersistentVolume,
          .namespace_name = "",
          .name = action.volume};
}

Action Decide(const model::ObjectEvent& event) {
  Action action{.key = event.key, .resource = event.resource, .observed_at = event.observed_at};
  action.event_id = event.event_id;
  const json object = json::parse(event.resource, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return Becomes(std::move(action), Action::Kind::kIgnore, "carries no JSON object");
  const json& metadata = ObjectAt(object, "metadata");
  action.uid = StringAt(metadata, "uid");
  if (HasData(event.key.kind)) action.volume = event.key.name;
  if (event.type == model::EventType::kDeleted) {
    action.source = SourceOf(event.key.kind, object).value_or(NfsSource{});
    if (event.key.kind == model::ObjectKind::kPersistentVolumeClaim) {
      action.volume = StringAt(ObjectAt(object, "spec"), "volumeName");
    }
    return Becomes(std::move(action), Action::Kind::kDelete);
  }
  if (action.uid.empty()) return Becomes(std::move(action), Action::Kind::kIgnore, "has no uid");
  if (IsBeingReclaimed(event.key.kind, object)) {
    if (std::optional<NfsSource> source = SourceOf(event.key.kind, object)) {
      action.source = *std::move(source);
      return Becomes(std::move(action), Action::Kind::kPauseVolume);
    }
  }
  if (IsBeingDeleted(object)) return Becomes(std::move(action), Action::Kind::kIgnore, "is being deleted");
  switch (event.key.kind) {
    case model::ObjectKind::kPersistentVolume:
      return DecideVolume(std::move(action), object);
    case model::ObjectKind::kPersistentVolumeClaim:
      return DecideClaim(std::move(action), object);
    case model::ObjectKind::kVolumeSnapshot:
      return DecideSnapshot(std::move(action), object);
    case model::ObjectKind::kVolumeSnapshotContent:
      return DecideContent(std::move(action), object);
  }
  AbortOnBrokenInvariant("known ObjectKind", __FILE__, __LINE__);
}

}  // namespace understudy::primary
