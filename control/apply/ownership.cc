#include "control/apply/ownership.h"

#include "control/apply/transform.h"
#include "core/kube/object_fields.h"

namespace understudy::control {

using kube::TextAt;
using nlohmann::json;

std::string SourceUidOf(const json& object) {
  return TextAt(object, {"metadata", "annotations", kSourceUidAnnotation});
}

std::string PairOf(const json& object) {
  return TextAt(object, {"metadata", "annotations", kPairAnnotation});
}

bool IsOurs(const json& object) {
  return TextAt(object, {"metadata", "labels", kManagedByLabel}) == kManagedByValue && !SourceUidOf(object).empty();
}

}  // namespace understudy::control
