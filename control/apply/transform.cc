#include "control/apply/transform.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "control/apply/ownership.h"
#include "core/kube/nfs_source.h"
#include "core/kube/object_fields.h"
#include "core/kube/resource.h"

namespace understudy::control {
namespace {

using kube::FieldAt;
using kube::TextAt;
using model::CatalogEntry;
using model::ObjectKind;
using nlohmann::json;

// With this one a claim whose volume isn't there yet becomes Lost, so no configuration can keep it.
constexpr const char* kBindCompleted = "pv.kubernetes.io/bind-completed";
constexpr const char* kBetaStorageClass = "volume.beta.kubernetes.io/storage-class";
constexpr const char* kPopulatedFor = "cdi.kubevirt.io/storage.populatedFor";

absl::Status NotReady(const CatalogEntry& entry, std::string_view why) {
  return absl::FailedPreconditionError(fmt::format("{} {}", ToString(entry.key), why));
}

bool IsUtf8(const std::string& bytes) {
  try {
    return !json(bytes).dump().empty();
  } catch (const json::exception&) {
    return false;
  }
}

// What the metadata keeps: it is made anew, so that nothing unknown comes along.
json MetadataOf(const CatalogEntry& entry, const json& object, const TransformOptions& options) {
  json metadata = {{"name", entry.key.name}};
  if (!entry.key.namespace_name.empty()) metadata["namespace"] = entry.key.namespace_name;
  const json& source = FieldAt(object, {"metadata"});
  if (const json& labels = FieldAt(source, {"labels"}); labels.is_object()) metadata["labels"] = labels;
  metadata["labels"][kManagedByLabel] = kManagedByValue;
  for (const std::string& name : options.kept_annotations) {
    const json& value = FieldAt(source, {"annotations", name});
    if (name != kBindCompleted && !value.is_null()) metadata["annotations"][name] = value;
  }
  metadata["annotations"][kSourceUidAnnotation] = entry.uid;
  if (IsOurs(object)) metadata["annotations"][kOriginUidAnnotation] = SourceUidOf(object);
  if (!options.pair.empty()) metadata["annotations"][kPairAnnotation] = options.pair;
  return metadata;
}

// A class's name at DR.
std::string AtDr(const std::map<std::string, std::string>& map, const std::string& name) {
  const auto mapped = map.find(name);
  return mapped != map.end() ? mapped->second : name;
}

// `spec` gets the class in its field, by DR's name. A claim without one would be given DR's default class, and wouldn't
// fit its volume any more: it gets the empty class, which is what it was bound with.
void MapStorageClass(const json& object, const TransformOptions& options, json& spec) {
  std::string name = TextAt(spec, {"storageClassName"});
  if (name.empty()) name = TextAt(object, {"metadata", "annotations", kBetaStorageClass});
  spec["storageClassName"] = AtDr(options.storage_class_map, name);
}

// A snapshot without a class keeps none: the one that there is says how it was taken.
void MapSnapshotClass(const json& source, const TransformOptions& options, json& spec) {
  const std::string name = TextAt(source, {"volumeSnapshotClassName"});
  if (!name.empty()) spec["volumeSnapshotClassName"] = AtDr(options.snapshot_class_map, name);
}

// The replica's path as share and subdir, cut where the primary's was, so that its handle keeps its form.
struct Share {
  std::string share;
  std::string subdir;
};

Share SplitAsBefore(const std::string& replica_path, const json& attributes) {
  const auto subdir = kube::FindInAnyCase(attributes, "subdir");
  if (subdir == attributes.end() || !subdir->is_string()) return {.share = replica_path, .subdir = ""};
  const std::vector<std::string> names = absl::StrSplit(subdir->get<std::string>(), '/', absl::SkipEmpty());
  const std::string suffix = "/" + absl::StrJoin(names, "/");
  if (names.empty() || !replica_path.ends_with(suffix)) return {.share = replica_path, .subdir = ""};
  const std::string share = replica_path.substr(0, replica_path.size() - suffix.size());
  return {.share = share.empty() ? "/" : share, .subdir = suffix.substr(1)};
}

// "server#baseDir#subDir#uuid#onDelete", or the older "server/base/sub". The driver takes a volume apart by its handle
// when it deletes or snapshots it; mounting doesn't use it.
std::string RewriteHandle(const std::string& handle, const std::string& server, const Share& place) {
  const std::string base(place.share.substr(place.share.starts_with('/') ? 1 : 0));
  std::vector<std::string> fields = absl::StrSplit(handle, '#');
  if (fields.size() >= 3) {
    fields[0] = server;
    fields[1] = base;
    fields[2] = place.subdir;
    return absl::StrJoin(fields, "#");
  }
  return place.subdir.empty() ? fmt::format("{}/{}", server, base)
                              : fmt::format("{}/{}/{}", server, base, place.subdir);
}

void RewriteCsi(const CatalogEntry& entry, const TransformOptions& options, json& csi) {
  json& attributes = csi["volumeAttributes"];
  const Share place = SplitAsBefore(entry.replica_path, attributes);
  attributes[kube::FindInAnyCase(attributes, "server").key()] = options.dr_server;
  const auto share = kube::FindInAnyCase(attributes, "share");
  attributes[share != attributes.end() ? share.key() : "share"] = place.share;
  const auto subdir = kube::FindInAnyCase(attributes, "subdir");
  if (subdir != attributes.end() && place.subdir.empty()) attributes.erase(subdir.key());
  csi["volumeHandle"] = RewriteHandle(TextAt(csi, {"volumeHandle"}), options.dr_server, place);
}

absl::StatusOr<json> VolumeSpec(const CatalogEntry& entry, const json& object, const TransformOptions& options) {
  if (!kube::NfsSourceOf(object)) return NotReady(entry, "isn't on NFS: only NFS volumes are replicated");
  if (entry.replica_path.empty()) return NotReady(entry, "has no replica at DR");
  if (!IsUtf8(entry.replica_path))
    return NotReady(entry, "has a path at DR that isn't UTF-8: Kubernetes can't name it");
  json spec = object["spec"];
  spec["persistentVolumeReclaimPolicy"] = "Retain";
  MapStorageClass(object, options, spec);
  const std::string claim = TextAt(spec, {"claimRef", "name"});
  const std::string claim_namespace = TextAt(spec, {"claimRef", "namespace"});
  spec.erase("claimRef");
  if (options.keep_claim_ref && !claim.empty()) spec["claimRef"] = {{"namespace", claim_namespace}, {"name", claim}};
  if (spec.contains("nfs")) {
    spec["nfs"]["server"] = options.dr_server;
    spec["nfs"]["path"] = entry.replica_path;
  } else {
    RewriteCsi(entry, options, spec["csi"]);
  }
  return spec;
}

absl::StatusOr<json> ClaimSpec(const CatalogEntry& entry, const json& object, const TransformOptions& options) {
  json spec = object["spec"];
  if (TextAt(spec, {"volumeName"}).empty()) return NotReady(entry, "isn't bound to a PersistentVolume");
  // CDI or a populator would import once more, over what is there.
  spec.erase("dataSource");
  spec.erase("dataSourceRef");
  MapStorageClass(object, options, spec);
  return spec;
}

// Tells CDI that the claim of a DataVolume has its content already.
void MarkPopulated(const json& object, json& metadata) {
  for (const json& owner : FieldAt(object, {"metadata", "ownerReferences"})) {
    if (TextAt(owner, {"kind"}) == "DataVolume") metadata["annotations"][kPopulatedFor] = TextAt(owner, {"name"});
  }
}

absl::StatusOr<json> SnapshotSpec(const CatalogEntry& entry, const json& object, const TransformOptions& options) {
  const std::string content = TextAt(object, {"status", "boundVolumeSnapshotContentName"});
  if (content.empty()) return NotReady(entry, "isn't bound to a VolumeSnapshotContent");
  json spec = {{"source", {{"volumeSnapshotContentName", content}}}};
  MapSnapshotClass(object["spec"], options, spec);
  return spec;
}

// "server#baseDir#snapName#snapName#src": a content with this handle is taken as it is; without, DR would take a new
// snapshot.
absl::StatusOr<json> ContentSpec(const CatalogEntry& entry, const json& object, const TransformOptions& options) {
  const json& source = object["spec"];
  if (TextAt(source, {"driver"}) != kube::kNfsCsiDriver) {
    return NotReady(entry,
                    fmt::format("is of driver '{}', whose handles can't be turned to DR", TextAt(source, {"driver"})));
  }
  const std::optional<kube::NfsSnapshot> snapshot = kube::NfsSnapshotOf(object);
  if (!snapshot) return NotReady(entry, "has no snapshotHandle that names an archive on NFS");
  const size_t slash = entry.replica_path.rfind('/');
  if (slash == std::string::npos || !IsUtf8(entry.replica_path)) return NotReady(entry, "has no folder at DR");
  const std::string folder = entry.replica_path.substr(slash + 1);
  const std::string handle = absl::StrJoin(
      {options.dr_server, entry.replica_path.substr(1, slash == 0 ? 0 : slash - 1), folder, folder, snapshot->archive},
      "#");
  const json& reference = FieldAt(source, {"volumeSnapshotRef"});
  json spec = {
      {"driver", source["driver"]},
      {"deletionPolicy", "Retain"},
      {"source", {{"snapshotHandle", handle}}},
      {"volumeSnapshotRef", {{"namespace", TextAt(reference, {"namespace"})}, {"name", TextAt(reference, {"name"})}}}};
  if (source.contains("sourceVolumeMode")) spec["sourceVolumeMode"] = source["sourceVolumeMode"];
  MapSnapshotClass(source, options, spec);
  return spec;
}

absl::StatusOr<json> SpecOf(const CatalogEntry& entry, const json& object, const TransformOptions& options) {
  switch (entry.key.kind) {
    case ObjectKind::kPersistentVolume:
      return VolumeSpec(entry, object, options);
    case ObjectKind::kPersistentVolumeClaim:
      return ClaimSpec(entry, object, options);
    case ObjectKind::kVolumeSnapshot:
      return SnapshotSpec(entry, object, options);
    case ObjectKind::kVolumeSnapshotContent:
      return ContentSpec(entry, object, options);
  }
  AbortOnBrokenInvariant("known ObjectKind", __FILE__, __LINE__);
}

}  // namespace

absl::StatusOr<json> Transform(const CatalogEntry& entry, const TransformOptions& options) {
  const json object = json::parse(entry.resource, nullptr, /*allow_exceptions=*/false);
  if (!FieldAt(object, {"spec"}).is_object() || entry.key.name.empty() || entry.uid.empty()) {
    return absl::InvalidArgumentError(fmt::format("{}: not an object with a uid and a spec", ToString(entry.key)));
  }
  json metadata = MetadataOf(entry, object, options);
  if (entry.key.kind == ObjectKind::kPersistentVolumeClaim) MarkPopulated(object, metadata);
  ASSIGN_OR_RETURN(json spec, SpecOf(entry, object, options));
  const kube::Resource& resource = kube::ResourceOf(entry.key.kind);
  return json{{"apiVersion", kube::ApiVersionOf(resource)},
              {"kind", resource.kind},
              {"metadata", std::move(metadata)},
              {"spec", std::move(spec)}};
}

}  // namespace understudy::control
