// paused_volumes.h: which volumes an administrator paused, remembered over a restart.
//
// Apart from the index, which may be lost: a volume that was paused isn't replicated because its index is gone. One
// small SQLite file in the state folder, synchronous=FULL. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "core/model/volume.h"
#include "core/store/database.h"

namespace understudy::primary {

class PausedVolumes {
 public:
  // Errors as of store::Database.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<PausedVolumes>> Open(const std::string& file);

  // Since when (Unix time); 0: it isn't paused.
  [[nodiscard]] int64_t PausedSince(const model::VolumeName& volume) const;
  // On disk when it returns OK. Since when it is paused: an earlier pause goes on.
  [[nodiscard]] absl::StatusOr<int64_t> Pause(const model::VolumeName& volume, int64_t now_nanoseconds);
  // Likewise; one that isn't paused is fine.
  [[nodiscard]] absl::Status Resume(const model::VolumeName& volume);

 private:
  explicit PausedVolumes(store::Database database) : database_(std::move(database)) {}

  mutable absl::Mutex mutex_;
  store::Database database_ ABSL_GUARDED_BY(mutex_);
  std::map<model::VolumeName, int64_t> since_ ABSL_GUARDED_BY(mutex_);  // as the file has it
};

}  // namespace understudy::primary
