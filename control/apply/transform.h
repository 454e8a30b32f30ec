// transform.h: what a storage object of the primary becomes at DR. Pure.
//
// What names the primary's instance goes (uid, versions, owners, finalizers, status, all annotations that aren't kept);
// what names the data is turned to DR's server and path; policies become Retain, so that nothing at DR can delete data.
// Every result carries the label and the annotations below: by them Understudy knows what it made, and for which pair.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/object.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

inline constexpr const char* kManagedByLabel = "app.kubernetes.io/managed-by";
inline constexpr const char* kManagedByValue = "understudy";
inline constexpr const char* kSourceUidAnnotation = "understudy.io/source-uid";
inline constexpr const char* kPairAnnotation = "understudy.io/pair";
// Of what was made from a copy that Understudy made: the uid of the object that the copy was made from. So an object
// that comes back to where it was first is known there.
inline constexpr const char* kOriginUidAnnotation = "understudy.io/origin-uid";

struct TransformOptions {
  std::string pair;       // its name
  std::string dr_server;  // NFS server of the pair as the DR cluster names it
  std::map<std::string, std::string> storage_class_map;
  std::map<std::string, std::string> snapshot_class_map;
  std::vector<std::string> kept_annotations = {"cdi.kubevirt.io/storage.contentType",
                                               "cdi.kubevirt.io/storage.preallocation"};
  bool keep_claim_ref = true;  // false: PersistentVolumes come without claimRef, and any fitting claim may bind them
};

// INVALID_ARGUMENT: the entry's resource isn't a usable object of its kind. FAILED_PRECONDITION: it can't be made ready
// at DR as it is (an unbound claim, a volume that isn't on NFS, a snapshot that isn't ready); the message says why.
[[nodiscard]] absl::StatusOr<nlohmann::json> Transform(const model::CatalogEntry& entry,
                                                       const TransformOptions& options);

}  // namespace understudy::control
