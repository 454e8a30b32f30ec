// velero_player.h: plays Velero, with KubeVirt's plugin, at one real API server: Backup objects that come from a
// storage location, and Restores.
//
// Like the real one: a Restore of a backup that isn't there ends as FailedValidation; namespaces are made; namespaces
// that are included, resources that are excluded, namespaceMapping and existingResourcePolicy count; objects lose what
// the API server gives them, their status and owners; one that is there already and differs counts as a warning, one
// that is refused as an error; the phases, counts and progress; of the plugin the three labels, and that instances of
// machines aren't restored. Left out: the storage itself (a function gives the archive), cluster-scoped objects but
// namespaces, the order of kinds beyond namespaces first, label selectors, volumes and snapshots, hooks, pods, results
// and logs in the storage, deletion of what a Restore left there, asynchronous plugin operations, DataVolumes.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "core/kube/client.h"
#include "nlohmann/json.hpp"

namespace understudy::tests {

// Works from Start until it is destroyed, on a thread of its own. Thread-safe.
class VeleroPlayer {
 public:
  // The bytes of a backup's archive (<name>.tar.gz).
  using ArchiveOf = std::function<absl::StatusOr<std::string>(const std::string& backup)>;

  // Makes the namespace if it isn't there, and a BackupStorageLocation "default" that is Available.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<VeleroPlayer>> Start(const kube::ClusterAccess& access,
                                                                           std::string namespace_name,
                                                                           ArchiveOf archive_of);
  // Leaves the objects as they are.
  ~VeleroPlayer();
  VeleroPlayer(const VeleroPlayer&) = delete;
  VeleroPlayer& operator=(const VeleroPlayer&) = delete;

  // A sync of the storage location finds the backup: makes its Backup object, with that phase.
  [[nodiscard]] absl::Status SyncBackup(const std::string& name, const std::string& phase = "Completed");
  // While held, no restore is begun, as when Velero's pod isn't there.
  void Hold(bool held);
  // The first trouble of its own; OK when there was none.
  [[nodiscard]] absl::Status Health() const;

 private:
  struct Restore;

  VeleroPlayer(const kube::ClusterAccess& access, std::string namespace_name, ArchiveOf archive_of)
      : client_(access), namespace_(std::move(namespace_name)), archive_of_(std::move(archive_of)) {}

  [[nodiscard]] absl::Status Prepare();
  void Run(const std::stop_token& stop);
  [[nodiscard]] absl::Status LookAtAll(const std::stop_token& stop);
  [[nodiscard]] absl::Status Process(const nlohmann::json& object);
  [[nodiscard]] absl::Status RestoreAll(Restore& restore);
  // What became of one item is counted.
  void RestoreItem(Restore& restore, const std::filesystem::path& file, const std::string& source_namespace);
  [[nodiscard]] absl::Status Update(Restore& restore, nlohmann::json status);

  const kube::Client client_;
  const std::string namespace_;
  const ArchiveOf archive_of_;
  mutable absl::Mutex mutex_;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status health_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace understudy::tests
