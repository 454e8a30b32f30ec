#include "control/apply/ownership.h"

#include "control/apply/transform.h"
#include "core/kube/object_fields.h"

namespace understudy::control {

using kube::TextAt;
using nlohmann::json;

std::string SourceUidOf(const json& object) {
  return TextAt(object, {"metadata", "annotations", kSourceUidAnnotation});
}

bool IsOriginOf(const json& present, const json& manifest) {
  const std::string origin = TextAt(manifest, {"metadata", "annotations", kOriginUidAnnotation});
  return !origin.empty() && origin == TextAt(present, {"metadata", "uid"});
}

std::string PairOf(const json& object) {
  return TextAt(object, {"metadata", "annotations", kPairAnnotation});
}

bool IsOurs(const json& object) {
  return TextAt(object, {"metadata", "labels", kManagedByLabel}) == kManagedByValue && !SourceUidOf(object).empty();
}

}  // namespace understudy::control
