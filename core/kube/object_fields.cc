#include "core/kube/object_fields.h"

namespace understudy::kube {

using nlohmann::json;

const json& FieldAt(const json& object, std::initializer_list<std::string_view> path) {
  static const json kNothing;
  const json* at = &object;
  for (const std::string_view key : path) {
    if (!at->is_object()) return kNothing;
    const auto member = at->find(key);
    if (member == at->end()) return kNothing;
    at = &*member;
  }
  return *at;
}

std::string TextAt(const json& object, std::initializer_list<std::string_view> path) {
  const json& field = FieldAt(object, path);
  return field.is_string() ? field.get<std::string>() : std::string();
}

}  // namespace understudy::kube
