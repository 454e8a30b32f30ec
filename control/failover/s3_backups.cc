#include "control/failover/s3_backups.h"

#include <fmt/format.h>

#include <system_error>

#include "absl/strings/str_join.h"
#include "control/oadp/backup_archive.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

// Under which a run finds its archive again, whatever the store calls it.
std::filesystem::path ArchiveIn(const std::filesystem::path& folder, const std::string& backup) {
  return folder / (backup + ".tar.gz");
}

}  // namespace

absl::StatusOr<BackupView> StoredBackups::Fetch(const std::string& name, const std::vector<std::string>& namespaces,
                                                const std::filesystem::path& folder, std::stop_token stop) {
  BackupChoice choice{.must_include_namespaces = namespaces, .accept_partially_failed = accept_partially_failed_};
  if (!name.empty()) choice.name = name;
  ASSIGN_OR_RETURN(const BackupSummary summary, store_->Find(choice, stop));
  ASSIGN_OR_RETURN(const FetchedBackup fetched, store_->Fetch(summary, folder, stop));
  std::error_code error;
  std::filesystem::rename(fetched.archive, ArchiveIn(folder, summary.name), error);
  if (error) {
    return ErrnoStatus(error.value(), fmt::format("can't keep {}", Printable(fetched.archive.native())));
  }
  return BackupView{.name = summary.name,
                    .phase = summary.phase,
                    .started_at = summary.started_at,
                    .archive_bytes = fetched.archive_bytes,
                    .warnings = summary.notes};
}

absl::StatusOr<BackupObjects> StoredBackups::Read(const std::string& name, const std::vector<std::string>& namespaces,
                                                  const std::filesystem::path& folder, std::stop_token stop) {
  const std::filesystem::path archive = ArchiveIn(folder, name);
  std::error_code error;
  if (!std::filesystem::exists(archive, error)) {
    return absl::NotFoundError(fmt::format("backup {} isn't in {}", Printable(name), Printable(folder.native())));
  }
  ArchiveRequest request{.backup = name, .namespaces = namespaces};
  request.limits.archive_bytes = max_archive_bytes_;
  ASSIGN_OR_RETURN(BackupContents contents, ReadBackupArchive(archive, request, stop));
  BackupObjects objects{.volumes = std::move(contents.persistent_volumes),
                        .claims = std::move(contents.claims),
                        .machines = std::move(contents.virtual_machines)};
  for (const std::string& wanted : namespaces) {
    if (contents.namespaces.contains(wanted)) continue;
    objects.warnings.push_back(fmt::format("backup {} has nothing of namespace {}", name, wanted));
  }
  return objects;
}

}  // namespace understudy::control
