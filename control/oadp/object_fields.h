// object_fields.h: fields of Kubernetes objects whose shape nobody vouches for. Pure.
#pragma once

#include <initializer_list>
#include <string>

#include "nlohmann/json.hpp"

namespace understudy::control {

// What stands at the end of the path of members; nullptr: nothing, or what is on the way isn't an object.
[[nodiscard]] const nlohmann::json* FieldAt(const nlohmann::json& object, std::initializer_list<const char*> path);
// The text there; empty: nothing, or no text.
[[nodiscard]] std::string TextAt(const nlohmann::json& object, std::initializer_list<const char*> path);

[[nodiscard]] inline std::string NameOf(const nlohmann::json& object) {
  return TextAt(object, {"metadata", "name"});
}
[[nodiscard]] inline std::string NamespaceOf(const nlohmann::json& object) {
  return TextAt(object, {"metadata", "namespace"});
}

}  // namespace understudy::control
