#include "agent-primary/rules/rules.h"

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

Action DecideVolume(Action action, const json& object) {
  const std::optional<NfsSource> source = kube::NfsSourceOf(object);
  if (!source) return Becomes(std::move(action), Action::Kind::kIgnore, "isn't on NFS");
  action.volume = action.key.name;
  action.source = *source;
  return Becomes(std::move(action), Action::Kind::kSyncVolume);
}

Action DecideClaim(Action action, const json& object) {
  action.volume = StringAt(ObjectAt(object, "spec"), "volumeName");
  if (action.volume.empty()) return Becomes(std::move(action), Action::Kind::kIgnore, "isn't bound");
  return Becomes(std::move(action), Action::Kind::kSyncClaim);
}

Action DecideSnapshot(Action action, const json& object) {
  const json& status = ObjectAt(object, "status");
  const auto ready = status.find("readyToUse");
  if (ready == status.end() || *ready != true) {
    return Becomes(std::move(action), Action::Kind::kIgnore, "isn't ready to use");
  }
  return Becomes(std::move(action), Action::Kind::kHold,
                 "the snapshot's data can't be shown to be at DR, so the object stays away from there");
}

}  // namespace

std::optional<NfsSource> NfsSourceOf(const std::string& persistent_volume_json) {
  const json object = json::parse(persistent_volume_json, nullptr, /*allow_exceptions=*/false);
  return kube::NfsSourceOf(object);
}

Action Decide(const model::ObjectEvent& event) {
  Action action{.key = event.key, .resource = event.resource, .observed_at = event.observed_at};
  action.event_id = event.event_id;
  const json object = json::parse(event.resource, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return Becomes(std::move(action), Action::Kind::kIgnore, "carries no JSON object");
  const json& metadata = ObjectAt(object, "metadata");
  action.uid = StringAt(metadata, "uid");
  if (event.key.kind == model::ObjectKind::kPersistentVolume) action.volume = event.key.name;
  if (event.type == model::EventType::kDeleted && event.key.kind == model::ObjectKind::kPersistentVolume) {
    action.source = kube::NfsSourceOf(object).value_or(NfsSource{});
  }
  if (event.type == model::EventType::kDeleted) return Becomes(std::move(action), Action::Kind::kDelete);
  if (action.uid.empty()) return Becomes(std::move(action), Action::Kind::kIgnore, "has no uid");
  if (!StringAt(metadata, "deletionTimestamp").empty()) {
    return Becomes(std::move(action), Action::Kind::kIgnore, "is being deleted");
  }
  switch (event.key.kind) {
    case model::ObjectKind::kPersistentVolume:
      return DecideVolume(std::move(action), object);
    case model::ObjectKind::kPersistentVolumeClaim:
      return DecideClaim(std::move(action), object);
    case model::ObjectKind::kVolumeSnapshot:
    case model::ObjectKind::kVolumeSnapshotContent:
      return DecideSnapshot(std::move(action), object);
  }
  AbortOnBrokenInvariant("known ObjectKind", __FILE__, __LINE__);
}

}  // namespace understudy::primary
