#include "control/oadp/object_fields.h"

namespace understudy::control {

const nlohmann::json* FieldAt(const nlohmann::json& object, std::initializer_list<const char*> path) {
  const nlohmann::json* at = &object;
  for (const char* const key : path) {
    if (!at->is_object()) return nullptr;
    const auto it = at->find(key);
    if (it == at->end()) return nullptr;
    at = &*it;
  }
  return at;
}

std::string TextAt(const nlohmann::json& object, std::initializer_list<const char*> path) {
  const nlohmann::json* const field = FieldAt(object, path);
  return field != nullptr && field->is_string() ? field->get<std::string>() : "";
}

}  // namespace understudy::control
