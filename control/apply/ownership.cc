#include "control/apply/ownership.h"

#include "control/apply/transform.h"

namespace understudy::control {

using nlohmann::json;

const json& At(const json& object, std::string_view key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto value = object.find(key);
  return value != object.end() ? *value : kNull;
}

std::string TextAt(const json& object, std::string_view key) {
  const json& value = At(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

std::string PhaseOf(const json& object) {
  return TextAt(At(object, "status"), "phase");
}

std::string SourceUidOf(const json& object) {
  return TextAt(At(At(object, "metadata"), "annotations"), kSourceUidAnnotation);
}

bool IsOriginOf(const json& present, const json& manifest) {
  const std::string origin = TextAt(At(At(manifest, "metadata"), "annotations"), kOriginUidAnnotation);
  return !origin.empty() && origin == TextAt(At(present, "metadata"), "uid");
}

std::string PairOf(const json& object) {
  return TextAt(At(At(object, "metadata"), "annotations"), kPairAnnotation);
}

bool IsOurs(const json& object) {
  return TextAt(At(At(object, "metadata"), "labels"), kManagedByLabel) == kManagedByValue &&
         !SourceUidOf(object).empty();
}

bool IsTerminating(const json& object) {
  return !At(At(object, "metadata"), "deletionTimestamp").is_null();
}

}  // namespace understudy::control
