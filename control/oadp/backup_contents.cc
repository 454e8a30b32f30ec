#include "control/oadp/backup_contents.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/base/log.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::FieldAt;
using kube::NameOf;
using kube::NamespaceOf;
using kube::TextAt;
using nlohmann::json;
using Objects = std::vector<json>;

struct KeptResource {
  std::string_view resource;  // as in the archive
  std::string_view group;     // empty for the core group
  std::string_view kind;
  bool namespaced;
  Objects BackupContents::*objects;
};

constexpr std::array<KeptResource, 5> kKept = {{
    {"persistentvolumes", "", "PersistentVolume", false, &BackupContents::persistent_volumes},
    {"persistentvolumeclaims", "", "PersistentVolumeClaim", true, &BackupContents::claims},
    {"volumesnapshots.snapshot.storage.k8s.io", "snapshot.storage.k8s.io", "VolumeSnapshot", true,
     &BackupContents::snapshots},
    {"volumesnapshotcontents.snapshot.storage.k8s.io", "snapshot.storage.k8s.io", "VolumeSnapshotContent", false,
     &BackupContents::snapshot_contents},
    {"virtualmachines.kubevirt.io", "kubevirt.io", "VirtualMachine", true, &BackupContents::virtual_machines},
}};
constexpr std::string_view kDataVolumes = "datavolumes.cdi.kubevirt.io";

const KeptResource* KeptOf(const ArchivePath& path) {
  const auto it = std::find_if(kKept.begin(), kKept.end(), [&](const KeptResource& kept) {
    return kept.resource == path.resource && kept.namespaced == !path.namespace_name.empty();
  });
  return it == kKept.end() ? nullptr : &*it;
}

// "kubevirt.io" of "kubevirt.io/v1", "" of "v1".
std::string GroupOf(const std::string& api_version) {
  const size_t slash = api_version.find('/');
  return slash == std::string::npos ? "" : api_version.substr(0, slash);
}

absl::StatusOr<json> ParseObject(std::string_view text) {
  bool too_deep = false;
  const json::parser_callback_t bound = [&](int depth, json::parse_event_t, json&) {
    too_deep = too_deep || depth > kMaxObjectDepth;
    return !too_deep;
  };
  json object = json::parse(text, bound, /*allow_exceptions=*/false);
  if (too_deep) return absl::InvalidArgumentError(fmt::format("it is nested deeper than {} levels", kMaxObjectDepth));
  if (object.is_discarded() || !object.is_object()) return absl::InvalidArgumentError("it isn't a JSON object");
  return object;
}

NamespacedName IdOf(const json& object) {
  return {.namespace_name = NamespaceOf(object), .name = NameOf(object)};
}

NamespacedName RefAt(const json& object, std::initializer_list<std::string_view> path) {
  const json& ref = FieldAt(object, path);
  return {.namespace_name = TextAt(ref, {"namespace"}), .name = TextAt(ref, {"name"})};
}

void SortByName(Objects& objects) {
  std::sort(objects.begin(), objects.end(), [](const json& a, const json& b) { return IdOf(a) < IdOf(b); });
}

// Keeps of `cluster_wide` what one of `owners` names, or what names one of them.
void KeepOwned(Objects& cluster_wide, const std::set<std::string>& named, const std::set<NamespacedName>& owners,
               std::initializer_list<std::string_view> ref) {
  std::erase_if(cluster_wide, [&](const json& object) {
    return !named.contains(NameOf(object)) && !owners.contains(RefAt(object, ref));
  });
}

}  // namespace

bool ContentsBuilder::Count(const ArchivePath& path) {
  const bool namespaced = !path.namespace_name.empty();
  if (namespaced && !IsWanted(path.namespace_name)) return false;
  ++contents_.counts[path.resource];
  if (namespaced) contents_.namespaces.insert(path.namespace_name);
  if (path.resource == kDataVolumes && namespaced) contents_.data_volumes.insert({path.namespace_name, path.name});
  return KeptOf(path) != nullptr;
}

absl::Status ContentsBuilder::AddObject(const ArchivePath& path, std::string_view text) {
  const KeptResource* const kept = KeptOf(path);
  UNDERSTUDY_CHECK(kept != nullptr);
  ASSIGN_OR_RETURN(json object, ParseObject(text));
  const std::string kind = TextAt(object, {"kind"});
  const bool right_kind = kind == kept->kind && GroupOf(TextAt(object, {"apiVersion"})) == kept->group;
  if (!right_kind || NameOf(object) != path.name || NamespaceOf(object) != path.namespace_name) {
    return absl::InvalidArgumentError(fmt::format("it holds {} {}/{} instead of what its path says", Printable(kind),
                                                  Printable(NamespaceOf(object)), Printable(NameOf(object))));
  }
  (contents_.*kept->objects).push_back(std::move(object));
  return absl::OkStatus();
}

BackupContents ContentsBuilder::Finish() && {
  std::set<std::string> volumes;
  std::set<NamespacedName> claims;
  for (const json& claim : contents_.claims) {
    volumes.insert(TextAt(claim, {"spec", "volumeName"}));
    claims.insert(IdOf(claim));
  }
  KeepOwned(contents_.persistent_volumes, volumes, claims, {"spec", "claimRef"});
  std::set<std::string> snapshot_contents;
  std::set<NamespacedName> snapshots;
  for (const json& snapshot : contents_.snapshots) {
    snapshot_contents.insert(TextAt(snapshot, {"status", "boundVolumeSnapshotContentName"}));
    snapshot_contents.insert(TextAt(snapshot, {"spec", "source", "volumeSnapshotContentName"}));
    snapshots.insert(IdOf(snapshot));
  }
  KeepOwned(contents_.snapshot_contents, snapshot_contents, snapshots, {"spec", "volumeSnapshotRef"});
  for (const KeptResource& kept : kKept) SortByName(contents_.*kept.objects);
  return std::move(contents_);
}

}  // namespace understudy::control
