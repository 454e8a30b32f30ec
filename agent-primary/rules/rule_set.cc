#include "agent-primary/rules/rule_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"

namespace understudy::primary {
namespace {

using model::ObjectKind;
using nlohmann::json;

template <class Value>
bool Allows(const std::vector<Value>& wanted, const Value& value) {
  return wanted.empty() || std::find(wanted.begin(), wanted.end(), value) != wanted.end();
}

// The member of `object` along `keys`; nullptr when there is none.
const json* Along(const json& object, const std::vector<std::string>& keys) {
  const json* at = &object;
  for (const std::string& key : keys) {
    if (!at->is_object()) return nullptr;
    const auto found = at->find(key);
    if (found == at->end()) return nullptr;
    at = &*found;
  }
  return at;
}

std::string TextOf(const json* value) {
  if (value == nullptr || value->is_null()) return {};
  return value->is_string() ? value->get<std::string>() : value->dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string TextAlong(const json& object, const std::vector<std::string>& keys) {
  return TextOf(Along(object, keys));
}

// "status.phase", or a JSON pointer: "/metadata/annotations/example.com~1tier".
std::string FieldText(const json& object, const std::string& path) {
  if (!path.starts_with('/')) return TextAlong(object, absl::StrSplit(path, '.'));
  try {
    const json::json_pointer pointer(path);
    return object.contains(pointer) ? TextOf(&object.at(pointer)) : std::string();
  } catch (const json::exception&) {
    return {};  // no such pointer: nothing is there
  }
}

// An object without a namespace has that of the claim or snapshot that it refers to.
std::string NamespaceOf(const model::ObjectKey& key, const json& object) {
  switch (key.kind) {
    case ObjectKind::kPersistentVolume:
      return TextAlong(object, {"spec", "claimRef", "namespace"});
    case ObjectKind::kVolumeSnapshotContent:
      return TextAlong(object, {"spec", "volumeSnapshotRef", "namespace"});
    default:
      return key.namespace_name;
  }
}

std::string StorageClassOf(ObjectKind kind, const json& object) {
  if (kind == ObjectKind::kVolumeSnapshot || kind == ObjectKind::kVolumeSnapshotContent) {
    return TextAlong(object, {"spec", "volumeSnapshotClassName"});
  }
  const std::string name = TextAlong(object, {"spec", "storageClassName"});
  return name.empty() ? TextAlong(object, {"metadata", "annotations", "volume.beta.kubernetes.io/storage-class"})
                      : name;
}

bool Holds(const config::RuleCondition& when, const model::ObjectEvent& event, const json& object) {
  if (!Allows(when.kinds, event.key.kind) || !Allows(when.types, event.type)) return false;
  if (!when.namespaces.empty()) {
    const std::string name = NamespaceOf(event.key, object);
    const auto fits = [&](const std::string& glob) { return !name.empty() && MatchesGlob(glob, name); };
    if (std::none_of(when.namespaces.begin(), when.namespaces.end(), fits)) return false;
  }
  for (const auto& [key, value] : when.labels) {
    const json* const label = Along(object, {"metadata", "labels", key});
    if (label == nullptr || TextOf(label) != value) return false;
  }
  if (!Allows(when.storage_classes, StorageClassOf(event.key.kind, object))) return false;
  return std::all_of(when.fields.begin(), when.fields.end(),
                     [&](const auto& field) { return FieldText(object, field.first) == field.second; });
}

}  // namespace

bool MatchesGlob(std::string_view glob, std::string_view text) {
  size_t at = 0;  // in glob
  size_t in = 0;  // in text
  size_t star = std::string_view::npos;
  size_t star_in = 0;
  while (in < text.size()) {
    if (at < glob.size() && glob[at] == '*') {
      star = at++;
      star_in = in;
    } else if (at < glob.size() && (glob[at] == '?' || glob[at] == text[in])) {
      ++at;
      ++in;
    } else if (star != std::string_view::npos) {
      // The newest star takes one character more.
      at = star + 1;
      in = ++star_in;
    } else {
      return false;
    }
  }
  return glob.find_first_not_of('*', at) == std::string_view::npos;
}

RuleMatch RuleSet::Match(const model::ObjectEvent& event) const {
  json object = json::parse(event.resource, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) object = json::object();
  RuleMatch match;
  for (const config::Rule& rule : rules_) {
    if (!Holds(rule.when, event, object)) continue;
    match.names += (match.names.empty() ? "" : ",") + rule.name;
    for (const config::RuleAction action : rule.actions) {
      if (!Fits(action, event.key.kind, event.type)) continue;
      if (action == config::RuleAction::kForward) match.forward = true;
      if (action != config::RuleAction::kForward && action != config::RuleAction::kIgnore) match.act = true;
    }
    if (!rule.goes_on) break;
  }
  return match;
}

}  // namespace understudy::primary
