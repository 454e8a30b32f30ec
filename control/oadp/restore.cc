#include "control/oadp/restore.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "control/apply/ownership.h"
#include "control/apply/transform.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::FieldAt;
using kube::IsTerminating;
using kube::NameOf;
using kube::PhaseOf;
using kube::TextAt;
using kube::UidOf;
using nlohmann::json;

// What a Restore was made from: Velero adds to its spec, so that doesn't tell.
constexpr char kSpecAnnotation[] = "understudy.io/restore-spec";
constexpr size_t kMaxShownLocations = 5;

std::string SpecOf(const json& restore) {
  return TextAt(restore, {"metadata", "annotations", kSpecAnnotation});
}

bool IsOurRestore(const json& restore) {
  return TextAt(restore, {"metadata", "labels", kManagedByLabel}) == kManagedByValue && !SpecOf(restore).empty();
}

uint64_t CountAt(const json& object, std::string_view key) {
  const json& value = FieldAt(object, {key});
  return value.is_number_integer() && value.get<int64_t>() > 0 ? value.get<uint64_t>() : 0;
}

absl::Time TimeAt(const json& object, std::string_view key) {
  absl::Time time = absl::InfinitePast();
  return absl::ParseTime(absl::RFC3339_full, TextAt(object, {key}), &time, nullptr) ? time : absl::InfinitePast();
}

json LabelsOf(const RestoreSpec& spec) {
  json labels = {{kManagedByLabel, kManagedByValue}};
  if (spec.halted) labels[kRestoreRunStrategyLabel] = "Halted";
  if (spec.clear_mac_address) labels[kClearMacAddressLabel] = "true";
  if (spec.new_firmware_uuid) labels[kNewFirmwareUuidLabel] = "true";
  return labels;
}

json VeleroSpecOf(const RestoreSpec& spec) {
  std::set<std::string> excluded(std::begin(kNeverRestored), std::end(kNeverRestored));
  excluded.insert(spec.excluded_resources.begin(), spec.excluded_resources.end());
  const std::set<std::string> namespaces(spec.included_namespaces.begin(), spec.included_namespaces.end());
  json made = {{"backupName", spec.backup_name},
               {"includedNamespaces", namespaces},
               {"excludedResources", excluded},
               {"existingResourcePolicy", spec.existing_resources == ExistingResources::kUpdate ? "update" : "none"},
               {"restorePVs", false}};
  if (!spec.namespace_mapping.empty()) made["namespaceMapping"] = spec.namespace_mapping;
  return made;
}

std::string EssenceOf(const RestoreSpec& spec) {
  return json{{"spec", VeleroSpecOf(spec)}, {"labels", LabelsOf(spec)}}.dump();
}

absl::Status CheckSpec(const RestoreSpec& spec) {
  if (spec.name.empty() || spec.backup_name.empty()) {
    return absl::InvalidArgumentError("a restore needs a name of its own and that of a backup");
  }
  if (spec.included_namespaces.empty()) {
    return absl::InvalidArgumentError(fmt::format("restore {}: no namespace is named", spec.name));
  }
  return absl::OkStatus();
}

// OK: usable; UNAVAILABLE: not yet.
absl::Status UsableBackup(const json& backup, const std::string& name) {
  const std::string phase = PhaseOf(backup);
  if (IsTerminating(backup) || phase == "Deleting") {
    return absl::FailedPreconditionError(fmt::format("backup {} is being deleted: choose another one", name));
  }
  if (phase == "Completed" || phase == "PartiallyFailed") return absl::OkStatus();
  if (phase.starts_with("Failed")) {
    return absl::FailedPreconditionError(fmt::format("backup {} is {}: choose another one", name, phase));
  }
  return absl::UnavailableError(fmt::format("backup {} is {}", name, phase.empty() ? "new" : phase));
}

std::string DescribeLocation(const json& location) {
  const json& status = FieldAt(location, {"status"});
  const std::string phase = PhaseOf(location);
  const std::string synced = TextAt(status, {"lastSyncedTime"});
  std::string text =
      fmt::format("{} is {}, {}", NameOf(location), phase.empty() ? "not looked at by Velero yet" : phase,
                  synced.empty() ? "never synced" : "last synced " + synced);
  if (const std::string message = TextAt(status, {"message"}); !message.empty()) text += ": " + Printable(message);
  return text;
}

}  // namespace

bool RestoreResult::Ended() const {
  return phase == "Completed" || phase == "PartiallyFailed" || phase == "Failed" || phase == "FailedValidation";
}

std::string Describe(const RestoreResult& result) {
  std::string text = result.phase.empty() ? "not looked at by Velero yet" : result.phase;
  if (result.total_items > 0) text += fmt::format(", {} of {} items", result.items_restored, result.total_items);
  if (result.errors > 0 || result.warnings > 0) {
    text += fmt::format(", {} errors and {} warnings", result.errors, result.warnings);
  }
  if (!result.failure_reason.empty()) text += ": " + Printable(result.failure_reason);
  for (const std::string& error : result.validation_errors) text += ": " + Printable(error);
  return text;
}

json RestoreManifest(const RestoreSpec& spec, const std::string& namespace_name) {
  return {{"apiVersion", kube::ApiVersionOf(kube::kRestores)},
          {"kind", kube::kRestores.kind},
          {"metadata",
           {{"name", spec.name},
            {"namespace", namespace_name},
            {"labels", LabelsOf(spec)},
            {"annotations", {{kSpecAnnotation, EssenceOf(spec)}}}}},
          {"spec", VeleroSpecOf(spec)}};
}

RestoreResult ResultOf(const json& restore) {
  const json& status = FieldAt(restore, {"status"});
  const json& progress = FieldAt(status, {"progress"});
  RestoreResult result{.phase = PhaseOf(restore),
                       .errors = CountAt(status, "errors"),
                       .warnings = CountAt(status, "warnings"),
                       .failure_reason = TextAt(status, {"failureReason"}),
                       .validation_errors = {},
                       .items_restored = CountAt(progress, "itemsRestored"),
                       .total_items = CountAt(progress, "totalItems"),
                       .started_at = TimeAt(status, "startTimestamp"),
                       .completed_at = TimeAt(status, "completionTimestamp")};
  for (const json& error : FieldAt(status, {"validationErrors"})) {
    if (error.is_string()) result.validation_errors.push_back(error.get<std::string>());
  }
  return result;
}

bool IsOf(const json& restore, const RestoreSpec& spec) {
  return IsOurRestore(restore) && SpecOf(restore) == EssenceOf(spec);
}

absl::Status VeleroRestores::WaitForBackup(const std::string& backup_name, absl::Duration timeout,
                                           std::stop_token stop) {
  const absl::Duration began = clock_.Monotonic();
  while (true) {
    const absl::StatusOr<json> backup = client_.Get(kube::kBackups, options_.namespace_name, backup_name);
    const absl::Status usable = backup.ok() ? UsableBackup(*backup, backup_name) : backup.status();
    if (usable.ok()) return usable;
    if (!absl::IsNotFound(usable) && !MayPass(usable)) return usable;
    const absl::Duration left = timeout - (clock_.Monotonic() - began);
    if (left <= absl::ZeroDuration()) {
      if (!absl::IsNotFound(usable)) {
        return absl::DeadlineExceededError(
            fmt::format("after {}: {}", absl::FormatDuration(timeout), MessageOf(usable)));
      }
      return absl::DeadlineExceededError(fmt::format("the DR cluster has no Backup {} in namespace {} after {}: {}",
                                                     backup_name, options_.namespace_name,
                                                     absl::FormatDuration(timeout), StorageAdvice(backup_name)));
    }
    if (!WaitUnlessStopped(stop, std::min(left, options_.poll_interval))) {
      return absl::CancelledError(fmt::format("waiting for backup {} was stopped", backup_name));
    }
  }
}

std::string VeleroRestores::StorageAdvice(const std::string& backup_name) const {
  const absl::StatusOr<kube::ListResult> locations =
      client_.List(kube::kBackupStorageLocations, options_.namespace_name);
  if (!locations.ok()) {
    return fmt::format("its BackupStorageLocations can't be read: {}", MessageOf(locations.status()));
  }
  if (locations->items.empty()) {
    return fmt::format("there is no BackupStorageLocation in namespace {}; is that where OADP is on this cluster?",
                       options_.namespace_name);
  }
  std::vector<std::string> told;
  for (const json& location : locations->items) {
    if (told.size() < kMaxShownLocations) told.push_back(DescribeLocation(location));
  }
  return fmt::format(
      "Velero makes it from what is in a storage location ({}). Look at `oc -n {} get backupstoragelocations -o yaml`: "
      "one has to be Available and name the bucket and prefix that hold backups/{}, and its spec.backupSyncPeriod must "
      "not be 0",
      fmt::join(told, "; "), options_.namespace_name, backup_name);
}

absl::Status VeleroRestores::Create(const RestoreSpec& spec) {
  RETURN_IF_ERROR(CheckSpec(spec));
  const absl::Status created =
      client_.Create(kube::kRestores, options_.namespace_name, RestoreManifest(spec, options_.namespace_name)).status();
  if (!absl::IsAlreadyExists(created)) return created;
  ASSIGN_OR_RETURN(const json present, client_.Get(kube::kRestores, options_.namespace_name, spec.name));
  if (IsTerminating(present)) {
    return absl::AbortedError(fmt::format("restore {} of before is still being deleted", spec.name));
  }
  if (IsOf(present, spec)) return absl::OkStatus();
  return absl::AlreadyExistsError(fmt::format(
      "there is a restore {} in namespace {} already, and it {}: look at it with `oc -n {} get restore {} -o "
      "yaml`, and delete it or choose another name",
      spec.name, options_.namespace_name,
      IsOurRestore(present) ? "was made to restore something else" : "isn't Understudy's", options_.namespace_name,
      spec.name));
}

absl::StatusOr<RestoreResult> VeleroRestores::Get(const std::string& name) {
  ASSIGN_OR_RETURN(const json restore, client_.Get(kube::kRestores, options_.namespace_name, name));
  return ResultOf(restore);
}

absl::StatusOr<RestoreResult> VeleroRestores::WaitForEnd(const std::string& name, absl::Duration timeout,
                                                         std::stop_token stop,
                                                         const std::function<void(const RestoreResult&)>& on_progress) {
  const absl::Duration began = clock_.Monotonic();
  std::string last = "it couldn't be asked for";
  std::optional<RestoreResult> told;
  while (true) {
    const absl::StatusOr<RestoreResult> result = Get(name);
    if (!result.ok() && !MayPass(result.status())) return result.status();
    last = result.ok() ? Describe(*result) : std::string(MessageOf(result.status()));
    if (result.ok() && told != *result) {
      told = *result;
      if (on_progress) on_progress(*result);
    }
    if (result.ok() && result->Ended()) return result;
    const absl::Duration left = timeout - (clock_.Monotonic() - began);
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(fmt::format(
          "restore {} hasn't ended after {} ({}); Velero goes on with it: `oc -n {} logs deploy/velero` says "
          "what it does",
          name, absl::FormatDuration(timeout), last, options_.namespace_name));
    }
    if (!WaitUnlessStopped(stop, std::min(left, options_.poll_interval))) {
      return absl::CancelledError(fmt::format("waiting for restore {} was stopped", name));
    }
  }
}

absl::Status VeleroRestores::Delete(const std::string& name) {
  const absl::StatusOr<json> restore = client_.Get(kube::kRestores, options_.namespace_name, name);
  if (absl::IsNotFound(restore.status())) return absl::OkStatus();
  RETURN_IF_ERROR(restore.status());
  if (!IsOurRestore(*restore)) {
    return absl::FailedPreconditionError(fmt::format("restore {} isn't Understudy's, so it isn't deleted", name));
  }
  const absl::Status deleted = client_.Delete(kube::kRestores, options_.namespace_name, name, UidOf(*restore));
  return absl::IsNotFound(deleted) ? absl::OkStatus() : deleted;
}

}  // namespace understudy::control
