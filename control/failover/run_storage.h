// run_storage.h: the storage of one run, read from the agents and the backup once by each process that works on it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "control/failover/storage.h"
#include "control/sync/ports.h"

namespace understudy::control {

// Of the way there and back, where either site may have what the catalogs of both know of: the objects of both
// clusters.
struct SiteObjects {
  const ClusterReader* dr = nullptr;
  const ClusterReader* primary = nullptr;  // nullptr with `dr`: another run, for which the catalog's word is enough
};

// Thread-safe.
class RunStorage {
 public:
  // `agents`, `backups` and what `objects` leads to must outlive it; `backups` is nullptr where nothing is restored.
  // `folder` is the run's own.
  RunStorage(SiteAgents& agents, Backups* backups, std::filesystem::path folder, SiteObjects objects = {})
      : agents_(agents), backups_(backups), folder_(std::move(folder)), objects_(objects) {}

  struct Found {
    Storage storage;
    BackupObjects backup;
  };
  // Errors of the agents and of Backups::Read; tried again by the next call. Once the inventory was made, its claims
  // are those that Keep wrote, and neither the agents nor the backup are asked: `backup` is empty then.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const Found>> Get(const RunRecord& run, std::stop_token stop);
  // For whoever goes on with the run. Durable when it returns OK.
  [[nodiscard]] absl::Status Keep(const Found& found) const;

  [[nodiscard]] Backups* backups() const { return backups_; }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  [[nodiscard]] absl::StatusOr<std::vector<PairStorage>> ReadPairs() const;
  [[nodiscard]] absl::Status ReadPair(PairStorage& pair) const;
  [[nodiscard]] absl::StatusOr<SiteClaims> ReadClaims(const RunRecord& run, std::stop_token stop) const;
  [[nodiscard]] absl::StatusOr<BackupObjects> ReadBackup(const RunRecord& run, std::stop_token stop) const;

  SiteAgents& agents_;
  Backups* const backups_;
  const std::filesystem::path folder_;
  const SiteObjects objects_;
  absl::Mutex mutex_;
  std::shared_ptr<const Found> found_ ABSL_GUARDED_BY(mutex_);
};

inline constexpr char kBackupStep[] = "backup";
// The name of the backup that the run uses. FAILED_PRECONDITION: the step that finds it hasn't been made.
[[nodiscard]] absl::StatusOr<std::string> BackupNameOf(const RunRecord& run);

}  // namespace understudy::control
