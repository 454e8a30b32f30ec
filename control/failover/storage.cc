#include "control/failover/storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "control/vm/vm_status.h"
#include "core/base/log.h"
#include "core/kube/nfs_source.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::FieldAt;
using kube::TextAt;
using model::CatalogEntry;
using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;

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

  absl::StatusOr<Storage> Find(const BackupObjects& backup, bool has_backup) {
    RETURN_IF_ERROR(NoteUnreachable(has_backup));
    for (const PairStorage& pair : pairs_) {
      for (const CatalogEntry& claim : pair.claims) {
        if (!claim.deleted && namespaces_.contains(claim.key.namespace_name)) AddFromCatalog(pair, claim);
      }
    }
    for (const json& claim : backup.claims) RETURN_IF_ERROR(AddFromBackup(claim, backup));
    for (auto& [name, definition] : claims_) storage_.claims.push_back(std::move(definition));
    for (auto& [name, other] : other_) storage_.other.push_back(std::move(other));
    return std::move(storage_);
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

  // Where no backup says which claims there are, one that only such a pair knows would be forgotten.
  absl::Status NoteUnreachable(bool has_backup) {
    for (const PairStorage& pair : pairs_) {
      if (pair.unreachable.ok()) continue;
      if (!has_backup) return pair.unreachable;
      storage_.warnings.push_back(
          fmt::format("pair {} can't be reached ({}): claims that came since the backup and are "
                      "there don't go over",
                      pair.pair, MessageOf(pair.unreachable)));
    }
    return absl::OkStatus();
  }

  static bool MayHold(const PairStorage& pair, const std::string& server) {
    return pair.server_names.empty() ||
           std::find(pair.server_names.begin(), pair.server_names.end(), server) != pair.server_names.end();
  }

  // DR's word that the object is gone counts more than a backup that still has it.
  static bool IsDeleted(const std::vector<CatalogEntry>& entries, const ObjectKey& key, const std::string& uid) {
    return std::any_of(entries.begin(), entries.end(), [&](const CatalogEntry& entry) {
      return entry.deleted && entry.key == key && !uid.empty() && entry.uid == uid;
    });
  }

  bool IsDeleted(const ObjectKey& claim, const json& object, const json& volume) const {
    const ObjectKey volume_key{ObjectKind::kPersistentVolume, "", kube::NameOf(volume)};
    return std::any_of(pairs_.begin(), pairs_.end(), [&](const PairStorage& pair) {
      return IsDeleted(pair.claims, claim, kube::UidOf(object)) ||
             IsDeleted(pair.volumes, volume_key, kube::UidOf(volume));
    });
  }

  // The pair's replica of a PersistentVolume of the backup; nullptr: it has none that fits.
  static const ReplicaView* FittingReplica(const PairStorage& pair, const std::string& name,
                                           const kube::NfsSource& source) {
    if (!MayHold(pair, source.server)) return nullptr;
    const auto known = std::find_if(pair.volumes.begin(), pair.volumes.end(), [&](const CatalogEntry& entry) {
      return !entry.deleted && entry.key.name == name;
    });
    if (known == pair.volumes.end()) return ReplicaOf(pair, name);
    const std::optional<kube::NfsSource> there = kube::NfsSourceOf(Parsed(*known));
    return there && there->path == source.path ? ReplicaOf(pair, known->volume) : nullptr;
  }

  absl::Status AddFromBackup(const json& claim, const BackupObjects& backup) {
    const ObjectKey key{ObjectKind::kPersistentVolumeClaim, kube::NamespaceOf(claim), kube::NameOf(claim)};
    const std::string name = TextAt(claim, {"spec", "volumeName"});
    if (name.empty() || !namespaces_.contains(key.namespace_name) || claims_.contains(NameOf(key))) {
      return absl::OkStatus();
    }
    const auto volume = std::find_if(backup.volumes.begin(), backup.volumes.end(),
                                     [&](const json& object) { return kube::NameOf(object) == name; });
    if (IsDeleted(key, claim, volume == backup.volumes.end() ? json() : *volume)) {
      storage_.warnings.push_back(fmt::format(
          "claim {} is left out: the backup has it, but it was deleted at the primary since", Printable(NameOf(key))));
      return absl::OkStatus();
    }
    if (volume == backup.volumes.end()) {
      NoteOther(key, name, claim, "the backup doesn't have its PersistentVolume");
      return absl::OkStatus();
    }
    const std::optional<kube::NfsSource> source = kube::NfsSourceOf(*volume);
    if (!source) {
      NoteOther(key, name, claim, "isn't on NFS");
      return absl::OkStatus();
    }
    return AddReplicaOf(key, claim, *volume, *source);
  }

  absl::Status AddReplicaOf(const ObjectKey& key, const json& claim, const json& volume,
                            const kube::NfsSource& source) {
    const std::string name = kube::NameOf(volume);
    const PairStorage* holder = nullptr;
    for (const PairStorage& pair : pairs_) {
      if (FittingReplica(pair, name, source) == nullptr) continue;
      if (holder != nullptr) {
        return absl::FailedPreconditionError(
            fmt::format("claim {}: pairs {} and {} both have a replica called {}, and DR's catalogs don't say which "
                        "one it is: write "
                        "`server_names` for both pairs",
                        Printable(NameOf(key)), holder->pair, pair.pair, Printable(name)));
      }
      holder = &pair;
    }
    if (holder != nullptr) {
      const ReplicaView& replica = *FittingReplica(*holder, name, source);
      Add(*holder, replica, EntryOf({ObjectKind::kPersistentVolume, "", name}, volume, replica, source),
          EntryOf(key, claim, replica, source), /*from_backup=*/true);
      return absl::OkStatus();
    }
    for (const PairStorage& pair : pairs_) {
      if (pair.unreachable.ok() || !MayHold(pair, source.server)) continue;
      return Annotate(pair.unreachable, fmt::format("claim {} isn't at any pair that answers, and pair {} doesn't",
                                                    Printable(NameOf(key)), pair.pair));
    }
    NoteOther(key, name, claim, "no pair has a replica of it");
    return absl::OkStatus();
  }

  static CatalogEntry EntryOf(const ObjectKey& key, const json& object, const ReplicaView& replica,
                              const kube::NfsSource& source) {
    return {.key = key,
            .uid = kube::UidOf(object),
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
  Storage storage_;
  std::map<std::string, ClaimDefinition> claims_;
  std::map<std::string, OtherStorage> other_;
};

// nullptr: it isn't live anywhere, as far as is known.
const LiveView* LiveOf(const std::vector<PairStorage>& pairs, const RunVolume& volume) {
  for (const PairStorage& pair : pairs) {
    const auto found = pair.live.find(volume.volume);
    if (pair.pair == volume.pair && found != pair.live.end()) return &found->second;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<Storage> FindStorage(const std::vector<std::string>& namespaces, const std::vector<PairStorage>& pairs,
                                    const BackupObjects& backup, bool has_backup) {
  return Finder(namespaces, pairs).Find(backup, has_backup);
}

void KeepWhatIsThere(const SiteClaims& claims, const std::vector<PairStorage>& pairs, RunMode mode, Storage& storage) {
  const auto has = [](const std::map<std::string, std::string>& site, const RunVolume& volume) {
    const auto found = site.find(volume.claim);
    return found != site.end() && found->second == volume.persistent_volume;
  };
  std::erase_if(storage.other, [&](const OtherStorage& other) {
    const RunVolume volume{.persistent_volume = other.persistent_volume, .claim = other.claim};
    return !has(claims.at_dr, volume) && !has(claims.at_primary, volume);
  });
  std::erase_if(storage.claims, [&](const ClaimDefinition& claim) {
    const LiveView* const live = LiveOf(pairs, claim.volume);
    const bool at_dr = has(claims.at_dr, claim.volume);
    const bool at_primary = has(claims.at_primary, claim.volume);
    if (mode == RunMode::kFailback && live != nullptr && live->at_primary && live->turned) {
      if (!at_dr) return true;
      storage.warnings.push_back(
          fmt::format("claim {} is left out: its volume {} came home before, and what is at DR isn't the live copy",
                      Printable(claim.volume.claim), claim.volume.Key()));
      return true;
    }
    if (live == nullptr || mode == RunMode::kFailback) return !at_dr && !at_primary;
    return live->at_primary ? !at_primary : !at_dr;
  });
}

std::vector<RunMachine> MachinesOf(const BackupObjects& backup) {
  std::vector<RunMachine> machines;
  for (const json& object : backup.machines) {
    const VmStatus status = StatusOfVm(object, nullptr);
    // Whether it had an instance is its status's word, for the backup's instance isn't looked at.
    const bool has_instance = FieldAt(object, {"status", "created"}) == true;
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
