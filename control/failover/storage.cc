#include "control/failover/storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "control/vm/vm_status.h"
#include "core/base/log.h"
#include "core/kube/nfs_source.h"

namespace understudy::control {
namespace {

using model::CatalogEntry;
using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;

// The value at a path of keys; null where something on the way isn't there.
json At(const json& object, std::initializer_list<const char*> path) {
  const json* at = &object;
  for (const char* const key : path) {
    if (!at->is_object()) return nullptr;
    const auto found = at->find(key);
    if (found == at->end()) return nullptr;
    at = &*found;
  }
  return *at;
}

std::string TextAt(const json& object, std::initializer_list<const char*> path) {
  const json value = At(object, path);
  return value.is_string() ? value.get<std::string>() : "";
}

json Parsed(const CatalogEntry& entry) {
  return json::parse(entry.resource, nullptr, /*allow_exceptions=*/false);
}

std::string NameOf(const ObjectKey& key) {
  return key.namespace_name + "/" + key.name;
}

// Whether the PersistentVolume says that it is this claim's. One without a claimRef is any claim's that names it.
bool BelongsTo(const json& volume, const ObjectKey& claim) {
  const std::string name = TextAt(volume, {"spec", "claimRef", "name"});
  return name.empty() ||
         (name == claim.name && TextAt(volume, {"spec", "claimRef", "namespace"}) == claim.namespace_name);
}

class Finder {
 public:
  Finder(const std::vector<std::string>& namespaces, const std::vector<PairStorage>& pairs)
      : namespaces_(namespaces.begin(), namespaces.end()), pairs_(pairs) {}

  Storage Find(const BackupObjects& backup) {
    for (const PairStorage& pair : pairs_) {
      for (const CatalogEntry& claim : pair.claims) {
        if (!claim.deleted && namespaces_.contains(claim.key.namespace_name)) AddFromCatalog(pair, claim);
      }
    }
    for (const json& claim : backup.claims) AddFromBackup(claim, backup);
    Storage storage;
    for (auto& [name, definition] : claims_) storage.claims.push_back(std::move(definition));
    for (auto& [name, other] : other_) storage.other.push_back(std::move(other));
    return storage;
  }

 private:
  static const ReplicaView* ReplicaOf(const PairStorage& pair, const std::string& volume) {
    const auto found = std::find_if(pair.replicas.begin(), pair.replicas.end(),
                                    [&](const ReplicaView& replica) { return replica.volume == volume; });
    return found == pair.replicas.end() ? nullptr : &*found;
  }

  void AddFromCatalog(const PairStorage& pair, const CatalogEntry& claim) {
    const json object = Parsed(claim);
    const std::string name = TextAt(object, {"spec", "volumeName"});
    if (name.empty()) return;  // not bound: it has no data
    const auto volume = std::find_if(pair.volumes.begin(), pair.volumes.end(), [&](const CatalogEntry& entry) {
      return !entry.deleted && entry.key.name == name;
    });
    if (volume == pair.volumes.end() || !BelongsTo(Parsed(*volume), claim.key)) return;
    const ReplicaView* const replica = ReplicaOf(pair, volume->volume);
    if (replica == nullptr) {
      NoteOther(claim.key, name, object, fmt::format("pair {} has no replica of volume {}", pair.pair, volume->volume));
      return;
    }
    Add(pair, *replica, *volume, claim, /*from_backup=*/false);
  }

  void AddFromBackup(const json& claim, const BackupObjects& backup) {
    const ObjectKey key{ObjectKind::kPersistentVolumeClaim, TextAt(claim, {"metadata", "namespace"}),
                        TextAt(claim, {"metadata", "name"})};
    const std::string name = TextAt(claim, {"spec", "volumeName"});
    if (name.empty() || !namespaces_.contains(key.namespace_name) || claims_.contains(NameOf(key))) return;
    const auto volume = std::find_if(backup.volumes.begin(), backup.volumes.end(), [&](const json& object) {
      return TextAt(object, {"metadata", "name"}) == name;
    });
    if (volume == backup.volumes.end()) {
      NoteOther(key, name, claim, "the backup doesn't have its PersistentVolume");
      return;
    }
    const std::optional<kube::NfsSource> source = kube::NfsSourceOf(*volume);
    if (!source) {
      NoteOther(key, name, claim, "isn't on NFS");
      return;
    }
    for (const PairStorage& pair : pairs_) {
      const ReplicaView* const replica = ReplicaOf(pair, name);
      if (replica == nullptr) continue;
      const CatalogEntry volume_entry = EntryOf({ObjectKind::kPersistentVolume, "", name}, *volume, *replica, *source);
      Add(pair, *replica, volume_entry, EntryOf(key, claim, *replica, *source), /*from_backup=*/true);
      return;
    }
    NoteOther(key, name, claim, "no pair has a replica of it");
  }

  static CatalogEntry EntryOf(const ObjectKey& key, const json& object, const ReplicaView& replica,
                              const kube::NfsSource& source) {
    return {.key = key,
            .uid = TextAt(object, {"metadata", "uid"}),
            .resource = object.dump(),
            .volume = replica.volume,
            .replica_path = replica.root,
            .server = source.server,
            .observed_at = absl::UnixEpoch()};
  }

  void Add(const PairStorage& pair, const ReplicaView& replica, const CatalogEntry& volume, const CatalogEntry& claim,
           bool from_backup) {
    const std::string name = NameOf(claim.key);
    other_.erase(name);
    claims_.emplace(name,
                    ClaimDefinition{.volume = {.pair = pair.pair,
                                               .volume = replica.volume,
                                               .replica_path = Printable(replica.root),
                                               .persistent_volume = volume.key.name,
                                               .claim = name,
                                               .storage_class = TextAt(Parsed(volume), {"spec", "storageClassName"})},
                                    .volume_entry = volume,
                                    .claim_entry = claim,
                                    .from_backup = from_backup});
  }

  void NoteOther(const ObjectKey& claim, const std::string& volume, const json& object, std::string why) {
    if (claims_.contains(NameOf(claim))) return;
    other_[NameOf(claim)] = {.persistent_volume = volume,
                             .claim = NameOf(claim),
                             .storage_class = TextAt(object, {"spec", "storageClassName"}),
                             .why = std::move(why)};
  }

  const std::set<std::string> namespaces_;
  const std::vector<PairStorage>& pairs_;
  std::map<std::string, ClaimDefinition> claims_;
  std::map<std::string, OtherStorage> other_;
};

}  // namespace

Storage FindStorage(const std::vector<std::string>& namespaces, const std::vector<PairStorage>& pairs,
                    const BackupObjects& backup) {
  return Finder(namespaces, pairs).Find(backup);
}

std::vector<RunMachine> MachinesOf(const BackupObjects& backup) {
  std::vector<RunMachine> machines;
  for (const json& object : backup.machines) {
    const VmStatus status = StatusOfVm(object, nullptr);
    // Whether it had an instance is its status's word, for the backup's instance isn't looked at.
    const json created = At(object, {"status", "created"});
    const bool has_instance = created.is_boolean() && created.get<bool>();
    machines.push_back({.namespace_name = status.key.namespace_name,
                        .name = status.key.name,
                        .run_strategy = status.run_strategy,
                        .was_running = status.run_strategy == kRunAlways || status.wants_running || has_instance});
  }
  std::sort(machines.begin(), machines.end(),
            [](const RunMachine& a, const RunMachine& b) { return a.Key() < b.Key(); });
  return machines;
}

}  // namespace understudy::control
