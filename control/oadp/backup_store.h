// backup_store.h: the OADP (Velero) backups of the primary cluster, as a bucket keeps them: listed, chosen, fetched.
//
// Needs neither cluster: in a disaster the bucket is what is left. Only reads.
#pragma once

#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "control/oadp/backup_summary.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/config/oadp_settings.h"
#include "core/net/s3_client.h"

namespace understudy::control {

struct FetchedBackup {
  BackupSummary summary;
  std::filesystem::path archive;  // the tar.gz, mode 0600; the caller's, who removes it
  uint64_t archive_bytes = 0;
};

// Thread-safe. Errors of all three, besides those named: UNAVAILABLE and DEADLINE_EXCEEDED (the store can't be reached,
// after several tries), UNAUTHENTICATED, PERMISSION_DENIED and FAILED_PRECONDITION (it refuses; the message says what
// to set), NOT_FOUND (no such bucket), CANCELLED (`stop`).
class BackupStore {
 public:
  virtual ~BackupStore() = default;

  // All, the newest first; those whose description is missing or broken last, with their problem.
  [[nodiscard]] virtual absl::StatusOr<std::vector<BackupSummary>> List(std::stop_token stop) = 0;
  // As of ChooseBackup.
  [[nodiscard]] virtual absl::StatusOr<BackupSummary> Find(const BackupChoice& choice, std::stop_token stop) = 0;
  // The archive, into `folder`, which exists. NOT_FOUND: the backup has none. RESOURCE_EXHAUSTED: it is larger than the
  // limit. DATA_LOSS: what came isn't what the store says it has. Nothing is left behind after an error.
  [[nodiscard]] virtual absl::StatusOr<FetchedBackup> Fetch(const BackupSummary& backup,
                                                            const std::filesystem::path& folder,
                                                            std::stop_token stop) = 0;
};

class S3BackupStore final : public BackupStore {
 public:
  // `clock` outlives it.
  S3BackupStore(std::unique_ptr<net::S3Client> s3, std::string prefix, uint64_t max_archive_bytes, Clock& clock);

  [[nodiscard]] absl::StatusOr<std::vector<BackupSummary>> List(std::stop_token stop) override;
  [[nodiscard]] absl::StatusOr<BackupSummary> Find(const BackupChoice& choice, std::stop_token stop) override;
  [[nodiscard]] absl::StatusOr<FetchedBackup> Fetch(const BackupSummary& backup, const std::filesystem::path& folder,
                                                    std::stop_token stop) override;

 private:
  [[nodiscard]] std::string KeyOf(const std::string& backup, std::string_view object) const;
  // One that can't be read has its problem; the error is the store's.
  [[nodiscard]] absl::StatusOr<BackupSummary> ReadSummary(const std::string& name, std::stop_token stop);

  const std::unique_ptr<net::S3Client> s3_;
  const std::string prefix_;  // ends with "backups/"
  const uint64_t max_archive_bytes_;
  Clock& clock_;
};

// The store that the settings name; its keys are read anew for each request. INVALID_ARGUMENT: the settings are
// unusable.
[[nodiscard]] absl::StatusOr<std::unique_ptr<BackupStore>> OpenBackupStore(const config::OadpConfig& oadp,
                                                                           Clock& clock = Clock::System());

}  // namespace understudy::control
