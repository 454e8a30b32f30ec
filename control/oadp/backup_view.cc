#include "control/oadp/backup_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::FieldAt;
using kube::NameOf;
using kube::NamespaceOf;
using kube::TextAt;
using nlohmann::json;

constexpr char kBetaClassAnnotation[] = "volume.beta.kubernetes.io/storage-class";

// The field, or the annotation that came before it.
std::string ClassOf(const json& object) {
  const std::string named = TextAt(object, {"spec", "storageClassName"});
  return named.empty() ? TextAt(object, {"metadata", "annotations", kBetaClassAnnotation}) : named;
}

NamespacedName IdOf(const json& object) {
  return {.namespace_name = NamespaceOf(object), .name = NameOf(object)};
}

std::string IdText(const json& object) {
  return fmt::format("{}/{}", Printable(NamespaceOf(object)), Printable(NameOf(object)));
}

// Sentences about one kind of object.
class Gaps {
 public:
  explicit Gaps(const BackupContents& contents) {
    for (const json& volume : contents.persistent_volumes) volumes_.emplace(NameOf(volume), &volume);
    for (const json& content : contents.snapshot_contents) snapshot_contents_.insert(NameOf(content));
    for (const json& claim : contents.claims) claims_.insert(IdOf(claim));
  }

  void OfClaim(const json& claim) {
    const std::string volume_name = TextAt(claim, {"spec", "volumeName"});
    if (volume_name.empty()) {
      return Say("claim {} isn't bound to a volume", IdText(claim));
    }
    const auto volume = volumes_.find(volume_name);
    if (volume == volumes_.end()) {
      return Say("claim {} is bound to volume {}, which isn't in the backup", IdText(claim), Printable(volume_name));
    }
    const json& of_volume = *volume->second;
    const NamespacedName claimed_by{.namespace_name = TextAt(of_volume, {"spec", "claimRef", "namespace"}),
                                    .name = TextAt(of_volume, {"spec", "claimRef", "name"})};
    if (claimed_by != IdOf(claim)) {
      Say("claim {} is bound to volume {}, which belongs to claim {}/{}", IdText(claim), Printable(volume_name),
          Printable(claimed_by.namespace_name), Printable(claimed_by.name));
    }
  }

  void OfSnapshot(const json& snapshot) {
    if (FieldAt(snapshot, {"status", "readyToUse"}) != true) {
      return Say("snapshot {} wasn't ready", IdText(snapshot));
    }
    const std::string content = TextAt(snapshot, {"status", "boundVolumeSnapshotContentName"});
    if (!snapshot_contents_.contains(content)) {
      Say("snapshot {} has its content in {}, which isn't in the backup", IdText(snapshot), Printable(content));
    }
  }

  void OfMachine(const json& machine) {
    for (const std::string& claim : ClaimsOfMachine(machine)) {
      if (claims_.contains({.namespace_name = NamespaceOf(machine), .name = claim})) continue;
      Say("virtual machine {} uses claim {}, which isn't in the backup", IdText(machine), Printable(claim));
    }
  }

  [[nodiscard]] std::vector<std::string> Take() && { return std::move(sentences_); }

 private:
  template <class... Parts>
  void Say(fmt::format_string<Parts...> format, Parts&&... parts) {
    sentences_.push_back(fmt::format(format, std::forward<Parts>(parts)...));
  }

  std::map<std::string, const json*> volumes_;
  std::set<std::string> snapshot_contents_;
  std::set<NamespacedName> claims_;
  std::vector<std::string> sentences_;
};

}  // namespace

std::vector<std::string> ClaimsOfMachine(const json& virtual_machine) {
  std::set<std::string> claims;
  const json& volumes = FieldAt(virtual_machine, {"spec", "template", "spec", "volumes"});
  if (!volumes.is_array()) return {};
  for (const json& volume : volumes) {
    // The claim of a DataVolume has its name.
    for (const std::string& name :
         {TextAt(volume, {"persistentVolumeClaim", "claimName"}), TextAt(volume, {"dataVolume", "name"}),
          TextAt(volume, {"ephemeral", "persistentVolumeClaim", "claimName"})}) {
      if (!name.empty()) claims.insert(name);
    }
  }
  return {claims.begin(), claims.end()};
}

std::map<std::string, StorageOfClass> StorageByClass(const BackupContents& contents) {
  std::map<std::string, StorageOfClass> by_class;
  for (const json& claim : contents.claims) by_class[ClassOf(claim)].claims.push_back(IdOf(claim));
  for (const json& volume : contents.persistent_volumes) by_class[ClassOf(volume)].volumes.push_back(NameOf(volume));
  for (auto& [name, storage] : by_class) {
    std::sort(storage.claims.begin(), storage.claims.end());
    std::sort(storage.volumes.begin(), storage.volumes.end());
  }
  return by_class;
}

std::vector<std::string> FindGaps(const BackupContents& contents) {
  Gaps gaps(contents);
  for (const json& claim : contents.claims) gaps.OfClaim(claim);
  for (const json& snapshot : contents.snapshots) gaps.OfSnapshot(snapshot);
  for (const json& machine : contents.virtual_machines) gaps.OfMachine(machine);
  return std::move(gaps).Take();
}

}  // namespace understudy::control
