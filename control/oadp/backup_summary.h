// backup_summary.h: what a backup says of itself (velero-backup.json), and which of several a failover takes. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::control {

struct BackupSummary {
  std::string name = {};
  std::string phase = {};                        // "Completed", "PartiallyFailed", "InProgress", …
  absl::Time started_at = absl::InfinitePast();  // InfinitePast: it doesn't say
  std::optional<absl::Time> completed_at = {};
  std::optional<absl::Time> expires_at = {};
  std::vector<std::string> included_namespaces = {};  // as in its spec; empty: all
  std::vector<std::string> excluded_namespaces = {};
  // As in its spec, whichever of Velero's two ways to name them it uses; empty: all. Those of the cluster, if they are
  // named apart, and those of namespaces.
  std::vector<std::string> included_resources = {};
  std::vector<std::string> excluded_resources = {};
  std::vector<std::string> included_cluster_resources = {};
  std::vector<std::string> excluded_cluster_resources = {};
  std::optional<bool> include_cluster_resources = {};  // nullopt: those that belong to what is included
  bool by_labels = false;                              // only what a label selector matches is in it
  uint64_t errors = 0;
  uint64_t warnings = 0;
  uint64_t items = 0;                   // that were backed up
  std::string problem = {};             // what keeps its description from being read; the fields above are empty then
  std::vector<std::string> notes = {};  // of ChooseBackup: what an administrator should know of the choice
};

// What a failover needs of a backup.
struct BackupChoice {
  std::optional<std::string> name = {};  // nullopt: the latest that is usable
  std::vector<std::string> must_include_namespaces = {};
  bool accept_partially_failed = false;
};

// Of the text of velero-backup.json. INVALID_ARGUMENT: it isn't the description of the backup `name`.
[[nodiscard]] absl::StatusOr<BackupSummary> ParseBackupSummary(std::string_view name, std::string_view text);

// The kinds that a failover looks for in a backup.
enum class BackupKind { kVirtualMachine, kClaim, kVolume };
// Whether Velero put objects of the kind into the backup, labels apart: by any name that it takes for the kind.
[[nodiscard]] bool IncludesKind(const BackupSummary& backup, BackupKind kind);

// Whether Velero put this namespace into the backup: `*` and an empty list are all, patterns count, exclusion wins.
[[nodiscard]] bool IncludesNamespace(const BackupSummary& backup, const std::string& namespace_name);

// OK, or why a failover can't use the backup: FAILED_PRECONDITION with what to do.
[[nodiscard]] absl::Status CheckUsable(const BackupSummary& backup, const BackupChoice& choice, absl::Time now);

// The one that is named, or the usable one that was started last. Expired ones, those that are being deleted and those
// without virtual machines are never the latest; what else a backup was made without is a note. NOT_FOUND: no backup of
// that name, or none at all; FAILED_PRECONDITION: none that can be used, with the reason of each of the newest.
[[nodiscard]] absl::StatusOr<BackupSummary> ChooseBackup(std::vector<BackupSummary> backups, const BackupChoice& choice,
                                                         absl::Time now);

// By the time at which they were started; those that don't say it, last.
void SortNewestFirst(std::vector<BackupSummary>& backups);

}  // namespace understudy::control
