#include "control/apply/applier.h"

#include <fmt/format.h>

#include "absl/strings/match.h"
#include "control/apply/diff.h"
#include "control/apply/ownership.h"
#include "control/apply/quantity.h"
#include "control/apply/transform.h"
#include "core/base/log.h"
#include "core/kube/object_fields.h"
#include "core/kube/resource.h"

namespace understudy::control {
namespace {

using kube::FieldAt;
using kube::IsTerminating;
using kube::NameOf;
using kube::NamespaceOf;
using kube::PhaseOf;
using kube::TextAt;
using kube::UidOf;
using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;

absl::StatusOr<ObjectKey> KeyOf(const json& manifest) {
  ASSIGN_OR_RETURN(const ObjectKind kind, model::ParseObjectKind(TextAt(manifest, {"kind"})));
  return ObjectKey{.kind = kind, .namespace_name = NamespaceOf(manifest), .name = NameOf(manifest)};
}

absl::StatusOr<json> Get(const kube::Client& client, const ObjectKey& key) {
  return client.Get(kube::ResourceOf(key.kind), key.namespace_name, key.name);
}

std::string RequestOf(const json& claim) {
  return TextAt(claim, {"spec", "resources", "requests", "storage"});
}

// The size of an unbound claim never changes, that of a bound one never shrinks. Whether a bound one may grow is its
// class's to say, and one that shrank at the primary without being made anew had an expansion taken back: ApplyClaim.
bool SizeDiffersForGood(const json& manifest, const json& present) {
  const std::optional<double> wanted = ParseQuantity(RequestOf(manifest));
  const std::optional<double> found = ParseQuantity(RequestOf(present));
  if (!wanted || !found || *wanted == *found) return false;
  return PhaseOf(present) != "Bound" || (*wanted < *found && SourceUidOf(manifest) != SourceUidOf(present));
}

// Whether `manifest` asks for something that the API server doesn't change in place. What it may change (capacity,
// policy, mount options) isn't looked at here.
bool DiffersForGood(const json& manifest, const json& present) {
  const json& wanted = FieldAt(manifest, {"spec"});
  const json& found = FieldAt(present, {"spec"});
  for (const char* field : {"nfs", "csi", "source", "volumeName", "volumeMode", "volumeSnapshotRef"}) {
    const json& value = FieldAt(wanted, {field});
    if (!value.is_null() && !Holds(FieldAt(found, {field}), value)) return true;
  }
  if (TextAt(manifest, {"kind"}) != "PersistentVolumeClaim") return false;
  return TextAt(wanted, {"storageClassName"}) != TextAt(found, {"storageClassName"}) ||
         FieldAt(wanted, {"accessModes"}) != FieldAt(found, {"accessModes"}) ||
         FieldAt(wanted, {"selector"}) != FieldAt(found, {"selector"}) || SizeDiffersForGood(manifest, present);
}

// Ours are made with Retain; who turned that off must not lose data because we delete the object.
absl::Status CheckRetained(const ObjectKey& key, const json& present, std::string_view site) {
  const char* const field = key.kind == ObjectKind::kPersistentVolume        ? "persistentVolumeReclaimPolicy"
                            : key.kind == ObjectKind::kVolumeSnapshotContent ? "deletionPolicy"
                                                                             : nullptr;
  if (field == nullptr || TextAt(present, {"spec", field}) == "Retain") return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "{} at {} isn't deleted because its data might go with it: set spec.{} to Retain", ToString(key), site, field));
}

// Whether `present` may be deleted to be made anew. Its data is safe (Retain), but not a binding that is in use: a
// bound claim goes only when it was made from another claim than the one that is wanted, which is gone at the primary.
bool MayBeReplaced(const json& manifest, const json& present) {
  if (PhaseOf(present) != "Bound") return true;
  return TextAt(manifest, {"kind"}) == "PersistentVolumeClaim" && SourceUidOf(manifest) != SourceUidOf(present);
}

// Which of two objects of one name is the newer one isn't told by anything: two pairs would make it anew in turn.
bool IsOfAnotherPair(const json& manifest, const json& present) {
  return SourceUidOf(manifest) != SourceUidOf(present) && !PairOf(manifest).empty() && !PairOf(present).empty() &&
         PairOf(manifest) != PairOf(present);
}

absl::Status StaysBound(const ObjectKey& key, std::string_view site) {
  return absl::FailedPreconditionError(fmt::format(
      "{} is bound at {} and differs where it can't be changed: delete its claim there, and it is made anew",
      ToString(key), site));
}

}  // namespace

json WithBinding(json manifest, const json& present) {
  const json& bound = FieldAt(present, {"spec", "volumeSnapshotRef"});
  const json& wanted = FieldAt(manifest, {"spec", "volumeSnapshotRef"});
  if (wanted.is_object() && Holds(bound, wanted)) manifest["spec"]["volumeSnapshotRef"] = bound;
  return manifest;
}

absl::Status KubeApplier::Apply(const json& manifest) {
  ASSIGN_OR_RETURN(const ObjectKey key, KeyOf(manifest));
  absl::StatusOr<json> present = Get(client_, key);
  json wanted = manifest;
  if (present.ok()) {
    if (!IsOurs(*present) && IsOriginOf(*present, manifest)) return absl::OkStatus();
    RETURN_IF_ERROR(MakeWayFor(manifest, key, *present));
    wanted = WithBinding(std::move(wanted), *present);
  } else if (!absl::IsNotFound(present.status())) {
    return present.status();
  }
  if (key.kind == ObjectKind::kPersistentVolumeClaim) return ApplyClaim(wanted, key, present.value_or(json()));
  ASSIGN_OR_RETURN(const json applied, ApplyInNamespace(wanted, key));
  if (key.kind == ObjectKind::kPersistentVolume) return FreeVolume(applied);
  return key.kind == ObjectKind::kVolumeSnapshotContent ? FreeContent(applied) : FreeContentOfSnapshot(applied);
}

absl::StatusOr<DeleteOutcome> KubeApplier::Delete(const ObjectKey& key, const std::string& source_uid) {
  const absl::StatusOr<json> present = Get(client_, key);
  if (absl::IsNotFound(present.status())) return DeleteOutcome::kAbsent;
  RETURN_IF_ERROR(present.status());
  if (!IsOurs(*present) || SourceUidOf(*present) != source_uid) return DeleteOutcome::kLeftAlone;
  if (IsTerminating(*present)) return DeleteOutcome::kDeleted;
  if (key.kind == ObjectKind::kPersistentVolume && PhaseOf(*present) == "Bound") {
    const json& claim = FieldAt(*present, {"spec", "claimRef"});
    return absl::AbortedError(fmt::format("{} is still bound to {}/{}: that claim has to be deleted first",
                                          ToString(key), TextAt(claim, {"namespace"}), TextAt(claim, {"name"})));
  }
  RETURN_IF_ERROR(CheckRetained(key, *present, site_));
  const absl::Status deleted =
      client_.Delete(kube::ResourceOf(key.kind), key.namespace_name, key.name, UidOf(*present));
  if (absl::IsNotFound(deleted)) return DeleteOutcome::kAbsent;
  RETURN_IF_ERROR(deleted);
  return DeleteOutcome::kDeleted;
}

// OK: the manifest may be applied over `present`.
absl::Status KubeApplier::MakeWayFor(const json& manifest, const ObjectKey& key, const json& present) {
  if (!IsOurs(present)) {
    return absl::FailedPreconditionError(fmt::format(
        "{} is at {} already and isn't Understudy's: rename or delete it there, or leave out the one that it would be "
        "made from",
        ToString(key), site_));
  }
  if (IsTerminating(present)) {
    return absl::AbortedError(
        fmt::format("{} is being deleted at {}: it will be made again afterwards", ToString(key), site_));
  }
  if (IsOfAnotherPair(manifest, present)) {
    return absl::FailedPreconditionError(fmt::format(
        "{} at {} is pair {}'s, made from another object of that name: it can be made for pair {} when it is "
        "gone there",
        ToString(key), site_, PairOf(present), PairOf(manifest)));
  }
  if (!DiffersForGood(manifest, present)) return absl::OkStatus();
  RETURN_IF_ERROR(CheckRetained(key, present, site_));
  if (!MayBeReplaced(manifest, present)) {
    if (key.kind == ObjectKind::kPersistentVolume && SourceUidOf(manifest) != SourceUidOf(present)) {
      return ReleaseEarlier(key, present);
    }
    return StaysBound(key, site_);
  }
  RETURN_IF_ERROR(client_.Delete(kube::ResourceOf(key.kind), key.namespace_name, key.name, UidOf(present)));
  spdlog::info("{} was deleted at {} to be made anew: it differed where it can't be changed", ToString(key), site_);
  const absl::Status gone = Get(client_, key).status();
  if (absl::IsNotFound(gone)) return absl::OkStatus();
  return absl::AbortedError(fmt::format("{} is being deleted at {} to be made anew", ToString(key), site_));
}

// The primary released the volume that `present` was made from, else it couldn't have been made anew. Never OK: when
// the claim is gone, the controller still has to see that.
absl::Status KubeApplier::ReleaseEarlier(const ObjectKey& key, const json& present) {
  const json& reference = FieldAt(present, {"spec", "claimRef"});
  const ObjectKey claim_key{ObjectKind::kPersistentVolumeClaim, TextAt(reference, {"namespace"}),
                            TextAt(reference, {"name"})};
  const absl::StatusOr<json> claim = Get(client_, claim_key);
  if (!claim.ok() && !absl::IsNotFound(claim.status())) return claim.status();
  if (claim.ok() && UidOf(*claim) == TextAt(reference, {"uid"}) && !IsTerminating(*claim)) {
    if (!IsOurs(*claim)) return StaysBound(key, site_);
    RETURN_IF_ERROR(
        client_.Delete(kube::kPersistentVolumeClaims, claim_key.namespace_name, claim_key.name, UidOf(*claim)));
    spdlog::info("{} was deleted at {} to be made anew: it was bound to an earlier {}", ToString(claim_key), site_,
                 ToString(key));
  }
  return absl::AbortedError(
      fmt::format("{} is still bound to {} at {}, which is being deleted", ToString(key), ToString(claim_key), site_));
}

absl::StatusOr<json> KubeApplier::ApplyInNamespace(const json& manifest, const ObjectKey& key) {
  const kube::Resource& resource = kube::ResourceOf(key.kind);
  absl::StatusOr<json> applied = client_.Apply(resource, key.namespace_name, key.name, manifest);
  const bool namespace_missing = !key.namespace_name.empty() && absl::IsNotFound(applied.status()) &&
                                 absl::StrContains(applied.status().message(), "namespaces \"");
  if (!namespace_missing) return applied;
  RETURN_IF_ERROR(EnsureNamespace(key.namespace_name));
  return client_.Apply(resource, key.namespace_name, key.name, manifest);
}

// A size that the cluster refuses, because the class there doesn't allow expansion, mustn't keep everything else away
// for good.
absl::Status KubeApplier::ApplyClaim(const json& manifest, const ObjectKey& key, const json& present) {
  absl::StatusOr<json> applied = ApplyInNamespace(manifest, key);
  const bool refused = absl::IsPermissionDenied(applied.status()) || absl::IsInvalidArgument(applied.status());
  const std::string size = RequestOf(present);
  if (refused && !size.empty() && size != RequestOf(manifest)) {
    json as_large = manifest;
    as_large["spec"]["resources"]["requests"]["storage"] = size;
    RETURN_IF_ERROR(ApplyInNamespace(as_large, key).ok() ? absl::OkStatus() : applied.status());
    return absl::FailedPreconditionError(fmt::format("{} keeps its size at {}, {} instead of {}: {}", ToString(key),
                                                     site_, size, RequestOf(manifest), MessageOf(applied.status())));
  }
  RETURN_IF_ERROR(applied.status());
  return FreeVolumeOfClaim(*applied);
}

absl::Status KubeApplier::EnsureNamespace(const std::string& name) {
  const json manifest = {{"apiVersion", "v1"},
                         {"kind", "Namespace"},
                         {"metadata", {{"name", name}, {"labels", {{kManagedByLabel, kManagedByValue}}}}}};
  const absl::Status status = client_.Create(kube::kNamespaces, "", manifest).status();
  if (absl::IsAlreadyExists(status)) return absl::OkStatus();
  if (absl::IsPermissionDenied(status))
    return Annotate(status, fmt::format("namespace {} isn't there at {}", name, site_));
  return status;
}

// A claim that was deleted leaves its uid in the volume's claimRef, and no claim of that name can bind any more. The
// reference then belongs to the controller, so applying doesn't help: the uid is patched away, the name stays.
absl::Status KubeApplier::FreeVolume(const json& volume) {
  const json& reference = FieldAt(volume, {"spec", "claimRef"});
  if (!IsOurs(volume) || PhaseOf(volume) != "Released" || TextAt(reference, {"uid"}).empty()) return absl::OkStatus();
  const absl::StatusOr<json> claim =
      client_.Get(kube::kPersistentVolumeClaims, TextAt(reference, {"namespace"}), TextAt(reference, {"name"}));
  if (!claim.ok() && !absl::IsNotFound(claim.status())) return claim.status();
  if (claim.ok() && UidOf(*claim) == TextAt(reference, {"uid"})) return absl::OkStatus();
  const json patch = {{"metadata", {{"resourceVersion", FieldAt(volume, {"metadata", "resourceVersion"})}}},
                      {"spec", {{"claimRef", {{"uid", nullptr}, {"resourceVersion", nullptr}}}}}};
  return client_.Patch(kube::kPersistentVolumes, "", NameOf(volume), kube::PatchType::kMerge, patch).status();
}

absl::Status KubeApplier::FreeVolumeOfClaim(const json& claim) {
  if (PhaseOf(claim) == "Bound") return absl::OkStatus();
  const absl::StatusOr<json> volume = client_.Get(kube::kPersistentVolumes, "", TextAt(claim, {"spec", "volumeName"}));
  if (absl::IsNotFound(volume.status())) return absl::OkStatus();
  RETURN_IF_ERROR(volume.status());
  const json& reference = FieldAt(*volume, {"spec", "claimRef"});
  const bool of_earlier = TextAt(reference, {"namespace"}) == NamespaceOf(claim) &&
                          TextAt(reference, {"name"}) == NameOf(claim) && !TextAt(reference, {"uid"}).empty() &&
                          TextAt(reference, {"uid"}) != UidOf(claim);
  if (of_earlier && PhaseOf(*volume) == "Bound") {
    // The controller hasn't seen yet that the earlier claim is gone; nobody would free the volume after that.
    return absl::AbortedError(fmt::format("PersistentVolume {} at {} is still bound to an earlier claim of that name",
                                          NameOf(*volume), site_));
  }
  return FreeVolume(*volume);
}

// As FreeVolume: the uid of a snapshot that was deleted keeps the snapshot controller from binding the next one.
absl::Status KubeApplier::FreeContent(const json& content) {
  const json& reference = FieldAt(content, {"spec", "volumeSnapshotRef"});
  if (!IsOurs(content) || TextAt(reference, {"uid"}).empty()) return absl::OkStatus();
  const absl::StatusOr<json> snapshot =
      Get(client_, {ObjectKind::kVolumeSnapshot, TextAt(reference, {"namespace"}), TextAt(reference, {"name"})});
  if (!snapshot.ok() && !absl::IsNotFound(snapshot.status())) return snapshot.status();
  if (snapshot.ok() && UidOf(*snapshot) == TextAt(reference, {"uid"})) return absl::OkStatus();
  const json patch = {{"metadata", {{"resourceVersion", FieldAt(content, {"metadata", "resourceVersion"})}}},
                      {"spec", {{"volumeSnapshotRef", {{"uid", nullptr}, {"resourceVersion", nullptr}}}}}};
  return client_
      .Patch(kube::ResourceOf(ObjectKind::kVolumeSnapshotContent), "", NameOf(content), kube::PatchType::kMerge, patch)
      .status();
}

absl::Status KubeApplier::FreeContentOfSnapshot(const json& snapshot) {
  const std::string name = TextAt(snapshot, {"spec", "source", "volumeSnapshotContentName"});
  const absl::StatusOr<json> content = Get(client_, {ObjectKind::kVolumeSnapshotContent, "", name});
  if (absl::IsNotFound(content.status())) return absl::OkStatus();
  RETURN_IF_ERROR(content.status());
  return FreeContent(*content);
}

}  // namespace understudy::control
