// restore.h: Velero's Restore objects on the DR cluster: made once, followed to their end, and deleted.
//
// Storage is never restored from the backup: claims and volumes are the replicas', which Understudy applied before.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/kube/client.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

// Always excluded, as Velero writes them: resource, and group if it isn't the core's.
inline constexpr const char* kNeverRestored[] = {
    "persistentvolumes",
    "persistentvolumeclaims",
    "volumesnapshots.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
};

// Labels of a Restore that KubeVirt's Velero plugin reads. Of the last two only that they are there counts.
inline constexpr char kRestoreRunStrategyLabel[] = "velero.kubevirt.io/restore-run-strategy";
inline constexpr char kClearMacAddressLabel[] = "velero.kubevirt.io/clear-mac-address";
inline constexpr char kNewFirmwareUuidLabel[] = "velero.kubevirt.io/generate-new-firmware-uuid";

enum class ExistingResources {
  kNone,    // what is there stays as it is
  kUpdate,  // what is there is brought to the backup's state
};

struct RestoreSpec {
  std::string name;  // of the object: the same name is the same restore
  std::string backup_name;
  std::vector<std::string> included_namespaces;          // never empty
  std::vector<std::string> excluded_resources;           // besides kNeverRestored
  std::map<std::string, std::string> namespace_mapping;  // from the backup's namespace to the one to restore into
  ExistingResources existing_resources = ExistingResources::kNone;
  bool halted = true;              // VMs come with run strategy Halted, so that boot order is ours
  bool clear_mac_address = false;  // for a copy beside the original
  bool new_firmware_uuid = false;  // likewise
  friend bool operator==(const RestoreSpec&, const RestoreSpec&) = default;
};

struct RestoreResult {
  std::string phase = {};  // Velero's; empty: it hasn't looked yet
  uint64_t errors = 0;
  uint64_t warnings = 0;
  std::string failure_reason = {};
  std::vector<std::string> validation_errors = {};
  uint64_t items_restored = 0;
  uint64_t total_items = 0;
  absl::Time started_at = absl::InfinitePast();  // InfinitePast: not told
  absl::Time completed_at = absl::InfinitePast();
  friend bool operator==(const RestoreResult&, const RestoreResult&) = default;

  // No further change comes.
  [[nodiscard]] bool Ended() const;
  // Ended, and without an error.
  [[nodiscard]] bool Completed() const { return phase == "Completed"; }
};
// One line for people: the phase, counts, and what Velero says went wrong.
[[nodiscard]] std::string Describe(const RestoreResult& result);

// Thread-safe. Errors of every call besides its own: PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE and
// DEADLINE_EXCEEDED (may be tried again), NOT_FOUND (Velero's kinds aren't served, too).
class Restores {
 public:
  virtual ~Restores() = default;

  // Returns when the DR cluster has the Backup object, which Velero makes from what is in the storage location, and it
  // is usable. DEADLINE_EXCEEDED: it hasn't come; the message says how the storage locations are and what to check.
  // FAILED_PRECONDITION: it is there, but is being deleted or has failed. CANCELLED: `stop`.
  [[nodiscard]] virtual absl::Status WaitForBackup(const std::string& backup_name, absl::Duration timeout,
                                                   std::stop_token stop) = 0;

  // A restore of that name that was made from the same `spec` is fine, whatever became of it. ALREADY_EXISTS: it was
  // made from another, or isn't ours. INVALID_ARGUMENT: the API server refuses it, or `spec` can't be.
  [[nodiscard]] virtual absl::Status Create(const RestoreSpec& spec) = 0;

  // NOT_FOUND: no such restore.
  [[nodiscard]] virtual absl::StatusOr<RestoreResult> Get(const std::string& name) = 0;

  // `on_progress` is called on this thread when the result changes. DEADLINE_EXCEEDED: it hasn't ended after `timeout`;
  // it goes on, and may be waited for again. CANCELLED: `stop`. A restore that failed is a result, not an error.
  [[nodiscard]] virtual absl::StatusOr<RestoreResult> WaitForEnd(
      const std::string& name, absl::Duration timeout, std::stop_token stop,
      const std::function<void(const RestoreResult&)>& on_progress) = 0;

  // Deletes the object; what it restored stays. One that is gone is fine. FAILED_PRECONDITION: it isn't ours.
  [[nodiscard]] virtual absl::Status Delete(const std::string& name) = 0;
};

// The object to create, in Velero's `namespace_name`. Pure.
[[nodiscard]] nlohmann::json RestoreManifest(const RestoreSpec& spec, const std::string& namespace_name);
// What a Restore object says of itself. Pure.
[[nodiscard]] RestoreResult ResultOf(const nlohmann::json& restore);
// Whether `restore` was made by RestoreManifest from this very spec: what Velero adds to it is of no account. Pure.
[[nodiscard]] bool IsOf(const nlohmann::json& restore, const RestoreSpec& spec);

struct VeleroOptions {
  std::string namespace_name = "openshift-adp";
  absl::Duration poll_interval = absl::Seconds(2);
};

class VeleroRestores : public Restores {
 public:
  // `client` is of the DR cluster and must outlive it, as `clock`.
  VeleroRestores(const kube::Client& client, VeleroOptions options, Clock& clock = Clock::System())
      : client_(client), options_(std::move(options)), clock_(clock) {}

  absl::Status WaitForBackup(const std::string& backup_name, absl::Duration timeout, std::stop_token stop) override;
  absl::Status Create(const RestoreSpec& spec) override;
  absl::StatusOr<RestoreResult> Get(const std::string& name) override;
  absl::StatusOr<RestoreResult> WaitForEnd(const std::string& name, absl::Duration timeout, std::stop_token stop,
                                           const std::function<void(const RestoreResult&)>& on_progress) override;
  absl::Status Delete(const std::string& name) override;

 private:
  // How the storage locations are, in words, and what to check.
  [[nodiscard]] std::string StorageAdvice(const std::string& backup_name) const;

  const kube::Client& client_;
  const VeleroOptions options_;
  Clock& clock_;
};

}  // namespace understudy::control
