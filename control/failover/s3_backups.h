// s3_backups.h: the backups of a run out of a bucket: control/oadp as the steps of a failover need it.
#pragma once

#include <memory>

#include "control/failover/ports.h"
#include "control/oadp/backup_store.h"

namespace understudy::control {

class StoredBackups : public Backups {
 public:
  StoredBackups(std::unique_ptr<BackupStore> store, bool accept_partially_failed, uint64_t max_archive_bytes)
      : store_(std::move(store)),
        accept_partially_failed_(accept_partially_failed),
        max_archive_bytes_(max_archive_bytes) {}

  absl::StatusOr<BackupView> Fetch(const std::string& name, const std::vector<std::string>& namespaces,
                                   const std::filesystem::path& folder, std::stop_token stop) override;
  absl::StatusOr<BackupObjects> Read(const std::string& name, const std::vector<std::string>& namespaces,
                                     const std::filesystem::path& folder, std::stop_token stop) override;

 private:
  const std::unique_ptr<BackupStore> store_;
  const bool accept_partially_failed_;
  const uint64_t max_archive_bytes_;
};

}  // namespace understudy::control
