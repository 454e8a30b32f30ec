#include "core/kube/event_json.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/base/random_id.h"
#include "core/base/time_text.h"
#include "nlohmann/json.hpp"

namespace understudy::kube {
namespace {

using nlohmann::json;

constexpr size_t kMaxNameBytes = 253;
constexpr const char* kNamingMetadata[] = {"name", "namespace", "uid", "resourceVersion"};

absl::Status Wrong(std::string_view what) {
  return absl::InvalidArgumentError(std::string(what));
}

// nullptr when it isn't there or null.
const json* Member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// The text at `key`; empty when it isn't there or null.
absl::StatusOr<std::string> TextAt(const json& object, const char* key) {
  const json* const value = Member(object, key);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return Wrong(fmt::format("{}: write text", key));
  return value->get<std::string>();
}

absl::StatusOr<json> ParseBounded(std::string_view text) {
  bool too_deep = false;
  const json::parser_callback_t bound = [&](int depth, json::parse_event_t, json&) {
    too_deep = too_deep || depth > kMaxEventDepth;
    return !too_deep;
  };
  json parsed = json::parse(text, bound, /*allow_exceptions=*/false);
  if (too_deep) return Wrong(fmt::format("nested deeper than {} levels", kMaxEventDepth));
  if (parsed.is_discarded()) return Wrong("the body is no well-formed JSON");
  if (!parsed.is_object()) return Wrong("write one JSON object: type, kind, namespace, name, resource");
  return parsed;
}

// As the API server lets objects and namespaces be named.
bool IsName(const std::string& text) {
  const auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'; };
  return !text.empty() && text.size() <= kMaxNameBytes && std::all_of(text.begin(), text.end(), fits);
}

bool IsNamespaced(model::ObjectKind kind) {
  return kind == model::ObjectKind::kPersistentVolumeClaim || kind == model::ObjectKind::kVolumeSnapshot;
}

absl::StatusOr<model::ObjectKey> KeyOf(const json& body) {
  ASSIGN_OR_RETURN(const std::string kind, TextAt(body, "kind"));
  model::ObjectKey key;
  ASSIGN_OR_RETURN(key.kind, model::ParseObjectKind(kind));
  ASSIGN_OR_RETURN(key.namespace_name, TextAt(body, "namespace"));
  ASSIGN_OR_RETURN(key.name, TextAt(body, "name"));
  if (!IsName(key.name)) return Wrong("name: write the object's name");
  if (IsNamespaced(key.kind) && !IsName(key.namespace_name)) return Wrong("namespace: write the object's namespace");
  if (!IsNamespaced(key.kind) && !key.namespace_name.empty()) {
    return Wrong(fmt::format("namespace: a {} has none: write null", kind));
  }
  return key;
}

// What the event says of the object must be what the object says of itself.
absl::Status CheckResource(const json& resource, const json& metadata, const model::ObjectKey& key) {
  ASSIGN_OR_RETURN(const std::string kind, TextAt(resource, "kind"));
  if (!kind.empty() && kind != model::ToString(key.kind)) {
    return Wrong(fmt::format("resource.kind is '{}', kind is '{}'", Printable(kind), model::ToString(key.kind)));
  }
  ASSIGN_OR_RETURN(const std::string name, TextAt(metadata, "name"));
  ASSIGN_OR_RETURN(const std::string namespace_name, TextAt(metadata, "namespace"));
  if (name != key.name) {
    return Wrong(fmt::format("resource.metadata.name is '{}', name is '{}'", Printable(name), key.name));
  }
  if (namespace_name != key.namespace_name) {
    return Wrong(fmt::format("resource.metadata.namespace is '{}', namespace is '{}'", Printable(namespace_name),
                             key.namespace_name));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> EventIdOf(const json& body, model::EventType type, const json& metadata) {
  ASSIGN_OR_RETURN(std::string id, TextAt(body, "event_id"));
  const auto printable = [](char c) { return c > ' ' && c < 0x7f; };
  if (id.size() > kMaxEventIdBytes || !std::all_of(id.begin(), id.end(), printable)) {
    return Wrong(fmt::format("event_id: write up to {} printable characters without spaces", kMaxEventIdBytes));
  }
  if (!id.empty()) return id;
  ASSIGN_OR_RETURN(const std::string uid, TextAt(metadata, "uid"));
  ASSIGN_OR_RETURN(const std::string version, TextAt(metadata, "resourceVersion"));
  if (uid.empty() || version.empty()) return RandomId();
  // As core/kube/list_watch.cc makes them.
  id = fmt::format("{}-{}-{}", model::ToString(type), uid, version);
  if (id.size() > kMaxEventIdBytes || !std::all_of(id.begin(), id.end(), printable)) {
    return Wrong("resource.metadata: uid or resourceVersion is no such thing");
  }
  return id;
}

absl::StatusOr<absl::Time> ObservedAt(const json& body, absl::Time now) {
  ASSIGN_OR_RETURN(const std::string text, TextAt(body, "observed_at"));
  if (text.empty()) return now;
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error) && time > absl::UnixEpoch() &&
      time < absl::FromUnixNanos(INT64_MAX)) {
    return time;
  }
  return Wrong("observed_at: write a time as in 2026-01-02T03:04:05Z");
}

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// `resource` with no more than `keys` of its members.
json Only(const json& resource, std::initializer_list<const char*> keys) {
  json kept = json::object();
  for (const char* const key : keys) {
    if (const json* const value = Member(resource, key)) kept[key] = *value;
  }
  return kept;
}

json NamesOf(const json& resource) {
  json kept = Only(resource, {"apiVersion", "kind"});
  const json* const metadata = Member(resource, "metadata");
  kept["metadata"] = json::object();
  for (const char* const key : kNamingMetadata) {
    if (metadata == nullptr || !metadata->is_object()) break;
    if (const json* const value = Member(*metadata, key)) kept["metadata"][key] = *value;
  }
  return kept;
}

void DropManagedFields(json& resource) {
  const auto metadata = resource.find("metadata");
  if (metadata != resource.end() && metadata->is_object()) metadata->erase("managedFields");
}

std::string MetadataOf(const model::ObjectEvent& event, const char* key) {
  const json resource = json::parse(event.resource, nullptr, /*allow_exceptions=*/false);
  if (!resource.is_object()) return {};
  const json* const metadata = Member(resource, "metadata");
  if (metadata == nullptr || !metadata->is_object()) return {};
  const json* const value = Member(*metadata, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

}  // namespace

absl::StatusOr<model::ObjectEvent> ParseEventJson(std::string_view text, absl::Time now) {
  ASSIGN_OR_RETURN(json body, ParseBounded(text));
  model::ObjectEvent event;
  ASSIGN_OR_RETURN(const std::string type, TextAt(body, "type"));
  ASSIGN_OR_RETURN(event.type, model::ParseEventType(type));
  ASSIGN_OR_RETURN(event.key, KeyOf(body));
  const auto resource = body.find("resource");
  if (resource == body.end() || !resource->is_object()) return Wrong("resource: write the whole object");
  const json* const metadata = Member(*resource, "metadata");
  if (metadata == nullptr || !metadata->is_object()) return Wrong("resource.metadata: write the whole object");
  RETURN_IF_ERROR(CheckResource(*resource, *metadata, event.key));
  ASSIGN_OR_RETURN(event.event_id, EventIdOf(body, event.type, *metadata));
  ASSIGN_OR_RETURN(event.observed_at, ObservedAt(body, now));
  DropManagedFields(*resource);
  event.resource = Dump(*resource);
  return event;
}

std::string EventJson(const model::ObjectEvent& event, size_t max_bytes) {
  json resource = json::parse(event.resource, nullptr, /*allow_exceptions=*/false);
  if (resource.is_discarded()) resource = nullptr;
  if (resource.is_object()) DropManagedFields(resource);
  json body = {{"type", model::ToString(event.type)},
               {"kind", model::ToString(event.key.kind)},
               {"namespace", nullptr},
               {"name", event.key.name},
               {"resource", resource},
               {"event_id", event.event_id},
               {"observed_at", Rfc3339(event.observed_at)}};
  if (!event.key.namespace_name.empty()) body["namespace"] = event.key.namespace_name;
  std::string text = Dump(body);
  if (text.size() <= max_bytes || !resource.is_object()) return text;
  body["truncated"] = true;
  body["resource"] = Only(resource, {"apiVersion", "kind", "metadata", "status"});
  text = Dump(body);
  if (text.size() <= max_bytes) return text;
  body["resource"] = NamesOf(resource);
  return Dump(body);
}

std::string UidOf(const model::ObjectEvent& event) {
  return MetadataOf(event, "uid");
}

std::string VersionOf(const model::ObjectEvent& event) {
  return MetadataOf(event, "resourceVersion");
}

}  // namespace understudy::kube
