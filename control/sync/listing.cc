#include "control/sync/listing.h"

#include <algorithm>

#include "control/apply/ownership.h"
#include "core/base/log.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::TextAt;
using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;

bool IsNamespaced(ObjectKind kind) {
  return kind == ObjectKind::kPersistentVolumeClaim || kind == ObjectKind::kVolumeSnapshot;
}

constexpr ObjectKind kKinds[] = {ObjectKind::kPersistentVolume, ObjectKind::kPersistentVolumeClaim,
                                 ObjectKind::kVolumeSnapshotContent, ObjectKind::kVolumeSnapshot};

void ReadList(const ClusterReader& reader, const std::string& cluster, ObjectKind kind,
              const std::string& namespace_name, std::stop_token stop, Listing& listing) {
  ListResult result{.cluster = cluster, .kind = kind, .namespace_name = namespace_name};
  const absl::StatusOr<std::vector<json>> items = reader.List(kind, namespace_name, std::move(stop));
  if (absl::IsNotFound(items.status())) {
    result.served = false;
  } else if (!items.ok()) {
    result.error = std::string(MessageOf(items.status()));
    listing.unreachable = listing.unreachable || ExitCodeFor(items.status()) == ExitCode::kUnreachable;
  } else {
    result.items = items->size();
    for (const json& item : *items) {
      listing.objects[{kind, kube::NamespaceOf(item), kube::NameOf(item)}] = item;
    }
  }
  listing.lists.push_back(std::move(result));
}

}  // namespace

bool Listing::Complete() const {
  return std::all_of(lists.begin(), lists.end(), [](const ListResult& list) { return list.error.empty(); });
}

bool Listing::Serves(ObjectKind kind) const {
  return std::all_of(lists.begin(), lists.end(),
                     [kind](const ListResult& list) { return list.kind != kind || list.served; });
}

bool Listing::CompleteFor(ObjectKind kind, const std::string& namespace_name) const {
  return std::all_of(lists.begin(), lists.end(), [&](const ListResult& list) {
    const bool about = list.kind == kind && (list.namespace_name.empty() || list.namespace_name == namespace_name);
    return !about || list.error.empty();
  });
}

Listing ReadListing(const ClusterReader& reader, const std::string& cluster, const std::vector<std::string>& namespaces,
                    std::stop_token stop) {
  Listing listing;
  for (const ObjectKind kind : kKinds) {
    if (!IsNamespaced(kind) || namespaces.empty()) {
      ReadList(reader, cluster, kind, "", stop, listing);
      continue;
    }
    for (const std::string& name : namespaces) ReadList(reader, cluster, kind, name, stop, listing);
  }
  return listing;
}

std::string MadeFrom(const json& object) {
  return IsOurs(object) ? SourceUidOf(object) : "";
}

std::string NamespaceOf(const ObjectKey& key, const json& object) {
  switch (key.kind) {
    case ObjectKind::kPersistentVolume:
      return TextAt(object, {"spec", "claimRef", "namespace"});
    case ObjectKind::kVolumeSnapshotContent:
      return TextAt(object, {"spec", "volumeSnapshotRef", "namespace"});
    case ObjectKind::kPersistentVolumeClaim:
    case ObjectKind::kVolumeSnapshot:
      return key.namespace_name;
  }
  AbortOnBrokenInvariant("known ObjectKind", __FILE__, __LINE__);
}

bool InScope(const ObjectKey& key, const json& object, const std::vector<std::string>& namespaces) {
  if (namespaces.empty()) return true;
  return std::find(namespaces.begin(), namespaces.end(), NamespaceOf(key, object)) != namespaces.end();
}

}  // namespace understudy::control
