// volume_roles.h: which volumes a promotion took away from this host, and which it brought here, remembered over a
// restart.
//
// Apart from the index, which goes with a hand-over, and from the configuration, which may go on listing the volume.
// One small SQLite file in the state folder, synchronous=FULL: what a call did is on disk when it returns OK.
// Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "core/model/volume.h"
#include "core/store/database.h"

namespace understudy::primary {

struct VolumeRole {
  bool live = false;       // the live copy is here; false: it is at the other side, and nothing is replicated from here
  model::Epoch epoch = 0;  // of the promotion that brought it there
  int64_t since_nanoseconds = 0;  // Unix time
  std::string path{};             // the volume's folder here, absolute; empty: not known
};

// Whether it was made at the other side: handed over, and never promoted.
[[nodiscard]] bool IsMadeThere(const VolumeRole& role);

class VolumeRoles {
 public:
  // Errors as of store::Database.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<VolumeRoles>> Open(const std::string& file);

  // nullopt: no promotion changed anything for it.
  [[nodiscard]] std::optional<VolumeRole> Find(const model::VolumeName& volume) const;
  [[nodiscard]] std::map<model::VolumeName, VolumeRole> List() const;

  // The live copy is at the other side, at `epoch`; one that was handed over for a later one stays so. `path` "" keeps
  // what is known. FAILED_PRECONDITION: the live copy came here at that epoch or a later one.
  [[nodiscard]] absl::Status HandOver(const model::VolumeName& volume, const std::string& path, model::Epoch epoch,
                                      int64_t now_nanoseconds);
  // The live copy is here, at `epoch`. FAILED_PRECONDITION: a later epoch is known of it.
  [[nodiscard]] absl::Status TakeUp(const model::VolumeName& volume, const std::string& path, model::Epoch epoch,
                                    int64_t now_nanoseconds);
  // The volume was made at the other side, and was deleted there. One that was handed over for a promotion stays so.
  [[nodiscard]] absl::Status ForgetMadeThere(const model::VolumeName& volume);
  // That the live copy came here is of no account any more: the volume was deleted. One that was handed over stays so.
  [[nodiscard]] absl::Status ForgetLive(const model::VolumeName& volume);

 private:
  explicit VolumeRoles(store::Database database) : database_(std::move(database)) {}
  absl::Status Remove(const model::VolumeName& volume) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Write(const model::VolumeName& volume, const VolumeRole& role) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  store::Database database_ ABSL_GUARDED_BY(mutex_);
  std::map<model::VolumeName, VolumeRole> roles_ ABSL_GUARDED_BY(mutex_);  // as the file has it
};

}  // namespace understudy::primary
