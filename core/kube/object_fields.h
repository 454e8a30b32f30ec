// object_fields.h: fields of Kubernetes objects whose shape nobody vouches for. Pure.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "nlohmann/json.hpp"

namespace understudy::kube {

// What stands at the end of the path of members; null: nothing, or what is on the way isn't an object. Part of
// `object`, or lives as long as the process.
[[nodiscard]] const nlohmann::json& FieldAt(const nlohmann::json& object, std::initializer_list<std::string_view> path);
const nlohmann::json& FieldAt(const nlohmann::json&& object, std::initializer_list<std::string_view> path) = delete;
// The text there; empty: nothing, or no text.
[[nodiscard]] std::string TextAt(const nlohmann::json& object, std::initializer_list<std::string_view> path);

[[nodiscard]] inline std::string NameOf(const nlohmann::json& object) {
  return TextAt(object, {"metadata", "name"});
}
[[nodiscard]] inline std::string NamespaceOf(const nlohmann::json& object) {
  return TextAt(object, {"metadata", "namespace"});
}
[[nodiscard]] inline std::string UidOf(const nlohmann::json& object) {
  return TextAt(object, {"metadata", "uid"});
}
[[nodiscard]] inline std::string PhaseOf(const nlohmann::json& object) {
  return TextAt(object, {"status", "phase"});
}
[[nodiscard]] inline bool IsTerminating(const nlohmann::json& object) {
  return !FieldAt(object, {"metadata", "deletionTimestamp"}).is_null();
}

}  // namespace understudy::kube
