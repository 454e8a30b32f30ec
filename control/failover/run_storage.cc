#include "control/failover/run_storage.h"

#include <fmt/format.h>

#include "control/failover/kept_storage.h"

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
  return found_ = std::move(found);
}

absl::Status RunStorage::Keep(const Found& found) const {
  return KeepClaims(folder_, found.storage.claims);
}

absl::StatusOr<std::vector<PairStorage>> RunStorage::ReadPairs() const {
  std::vector<PairStorage> pairs;
  for (const std::string& name : agents_.Pairs()) {
    PairStorage pair{.pair = name, .server_names = agents_.ServerNames(name)};
    absl::StatusOr<std::vector<ReplicaView>> replicas = agents_.Replicas(name);
    if (IsUnreachable(replicas.status())) {
      pair.unreachable = replicas.status();
      pairs.push_back(std::move(pair));
      continue;
    }
    RETURN_IF_ERROR(replicas.status());
    pair.replicas = *std::move(replicas);
    ASSIGN_OR_RETURN(pair.volumes, agents_.Catalog(name, model::ObjectKind::kPersistentVolume));
    ASSIGN_OR_RETURN(pair.claims, agents_.Catalog(name, model::ObjectKind::kPersistentVolumeClaim));
    pairs.push_back(std::move(pair));
  }
  return pairs;
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
