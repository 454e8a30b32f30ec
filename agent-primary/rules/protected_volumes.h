// protected_volumes.h: the volumes that the control plane had this agent protect, remembered over a restart.
//
// Stands between what registers volumes and the data plane: what is asked for by Protect is written down before it is
// registered, and forgotten before it is unregistered, however that comes about. One small SQLite file in the state
// folder, synchronous=FULL.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/rules/volume_actions.h"
#include "core/kube/nfs_source.h"
#include "core/store/database.h"

namespace understudy::primary {

// Thread-safe.
class ProtectedVolumes : public VolumeActions {
 public:
  // `volumes` must outlive it. Errors as of store::Database.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ProtectedVolumes>> Open(const std::string& file,
                                                                              VolumeActions& volumes);

  // Registers what was protected before. One that can't be registered (its export isn't configured any more, its folder
  // is gone) is logged and stays remembered.
  [[nodiscard]] absl::Status RegisterAll();

  // Registers `source` as volume `name`, from now on and after a restart. NOT_FOUND: it isn't on this host. Other
  // errors as of Register.
  [[nodiscard]] absl::Status Protect(const std::string& name, const kube::NfsSource& source);
  // Its PersistentVolume was deleted: forgotten, unregistered and discarded. NOT_FOUND: it isn't on this host. Other
  // errors as of Discard.
  [[nodiscard]] absl::Status Release(const std::string& name, const kube::NfsSource& source);

  // As Locate. NOT_FOUND: it isn't on this host.
  [[nodiscard]] absl::StatusOr<VolumePlace> PlaceOf(const std::string& name, const kube::NfsSource& source) const;

  [[nodiscard]] std::optional<VolumePlace> Locate(const std::string& server, const std::string& path) const override;
  [[nodiscard]] absl::Status Register(const std::string& name, const VolumePlace& place) override;
  [[nodiscard]] absl::Status Unregister(const std::string& name) override;
  [[nodiscard]] absl::Status Discard(const std::string& name, const VolumePlace& place) override;
  [[nodiscard]] absl::Status Pause(const std::string& name, const VolumePlace& place) override;
  [[nodiscard]] absl::Status Resume(const std::string& name) override;
  [[nodiscard]] absl::Status SyncToBarrier(const std::string& name, BarrierWait& wait, std::stop_token stop) override;

 private:
  ProtectedVolumes(store::Database database, VolumeActions& volumes)
      : volumes_(volumes), database_(std::move(database)) {}
  [[nodiscard]] absl::Status Remember(const std::string& name, const kube::NfsSource& source);

  VolumeActions& volumes_;
  absl::Mutex mutex_;
  store::Database database_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::primary
