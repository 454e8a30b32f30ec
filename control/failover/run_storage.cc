#include "control/failover/run_storage.h"

#include <fmt/format.h>

#include "control/failover/kept_storage.h"
#include "core/kube/object_fields.h"

namespace understudy::control {

absl::StatusOr<std::string> BackupNameOf(const RunRecord& run) {
  const StepRecord* const step = run.Find(kBackupStep);
  const ItemRecord* const item = step == nullptr ? nullptr : step->Find("");
  const bool known = item != nullptr && HasEnded(item->state) && item->facts.is_object() &&
                     item->facts.contains("name") && item->facts["name"].is_string();
  if (!known) return absl::FailedPreconditionError(fmt::format("step {} hasn't been made yet", kBackupStep));
  return item->facts["name"].get<std::string>();
}

absl::StatusOr<std::shared_ptr<const RunStorage::Found>> RunStorage::Get(const RunRecord& run, std::stop_token stop) {
  const absl::MutexLock lock(&mutex_);
  if (found_ != nullptr) return found_;
  auto found = std::make_shared<Found>();
  if (InventoryOf(run).ok()) {
    absl::StatusOr<std::vector<ClaimDefinition>> kept = ReadKeptClaims(folder_);
    if (kept.ok()) {
      found->storage.claims = *std::move(kept);
      return found_ = std::move(found);
    }
    if (!absl::IsNotFound(kept.status())) return kept.status();
    // The run goes on elsewhere, or somebody cleaned up.
  }
  ASSIGN_OR_RETURN(const std::vector<PairStorage> pairs, ReadPairs());
  ASSIGN_OR_RETURN(found->backup, ReadBackup(run, stop));
  const bool has_backup = backups_ != nullptr && run.Find(kBackupStep) != nullptr;
  ASSIGN_OR_RETURN(found->storage, FindStorage(run.spec.namespaces, pairs, found->backup, has_backup));
  if (objects_.dr != nullptr) {
    ASSIGN_OR_RETURN(const SiteClaims claims, ReadClaims(run, stop));
    KeepWhatIsThere(claims, pairs, run.spec.mode, found->storage);
  }
  return found_ = std::move(found);
}

absl::Status RunStorage::Keep(const Found& found) const {
  return KeepClaims(folder_, found.storage.claims);
}

absl::StatusOr<std::vector<PairStorage>> RunStorage::ReadPairs() const {
  std::vector<PairStorage> pairs;
  for (const std::string& name : agents_.Pairs()) {
    PairStorage pair{.pair = name, .server_names = agents_.ServerNames(name)};
    const absl::Status read = ReadPair(pair);
    if (IsUnreachable(read)) {
      pair = {.pair = name, .server_names = pair.server_names, .unreachable = read};
    } else {
      RETURN_IF_ERROR(read);
    }
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

absl::Status RunStorage::ReadPair(PairStorage& pair) const {
  ASSIGN_OR_RETURN(pair.replicas, agents_.Replicas(pair.pair));
  ASSIGN_OR_RETURN(pair.volumes, agents_.Catalog(pair.pair, model::ObjectKind::kPersistentVolume));
  ASSIGN_OR_RETURN(pair.claims, agents_.Catalog(pair.pair, model::ObjectKind::kPersistentVolumeClaim));
  if (objects_.dr == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<LiveView> live, agents_.LiveVolumes(pair.pair));
  for (const LiveView& volume : live) pair.live[volume.volume] = volume;
  return absl::OkStatus();
}

absl::StatusOr<SiteClaims> RunStorage::ReadClaims(const RunRecord& run, std::stop_token stop) const {
  SiteClaims claims;
  for (const bool at_dr : {true, false}) {
    for (const std::string& namespace_name : run.spec.namespaces) {
      ASSIGN_OR_RETURN(const std::vector<nlohmann::json> listed,
                       (at_dr ? objects_.dr : objects_.primary)
                           ->List(model::ObjectKind::kPersistentVolumeClaim, namespace_name, stop));
      for (const nlohmann::json& claim : listed) {
        const std::string volume = kube::TextAt(claim, {"spec", "volumeName"});
        (at_dr ? claims.at_dr : claims.at_primary)[namespace_name + "/" + kube::NameOf(claim)] = volume;
      }
    }
  }
  return claims;
}

absl::StatusOr<BackupObjects> RunStorage::ReadBackup(const RunRecord& run, std::stop_token stop) const {
  if (backups_ == nullptr || run.Find(kBackupStep) == nullptr) return BackupObjects{};
  ASSIGN_OR_RETURN(const std::string name, BackupNameOf(run));
  absl::StatusOr<BackupObjects> objects = backups_->Read(name, run.spec.namespaces, folder_, stop);
  if (!absl::IsNotFound(objects.status())) return objects;
  // The run goes on elsewhere, or somebody cleaned up.
  RETURN_IF_ERROR(backups_->Fetch(name, run.spec.namespaces, folder_, stop).status());
  return backups_->Read(name, run.spec.namespaces, folder_, stop);
}

}  // namespace understudy::control
