// confirmations.h: when DR is known to have had everything of a volume, as its primary said: what a failover tells the
// age of the data by where nothing changes.
//
// SQLite (`confirmations.db` in the state folder) without a sync: it survives the process; a power cut may take the
// newest ones, and then the data counts as older than it is. A file that is damaged is made anew. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/model/confirmation.h"
#include "core/model/volume.h"
#include "core/store/database.h"

namespace understudy::dr {

class Confirmations {
 public:
  // At most so often they are written down, however often they come.
  static constexpr absl::Duration kWriteInterval = absl::Seconds(5);

  // `clock` outlives it. Errors: the store's.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Confirmations>> Open(const std::string& file, const Clock& clock);

  // Takes those that fit what `states` says of the replicas; an older one never replaces a newer one. An error: they
  // couldn't be written down, but are known until the process ends.
  [[nodiscard]] absl::Status Take(std::span<const model::Confirmation> confirmations,
                                  const std::vector<model::ReplicaState>& states);
  // Of the states that the replicas have now, ascending by volume: one that was given for another state says nothing.
  [[nodiscard]] std::vector<model::Confirmation> Of(const std::vector<model::ReplicaState>& states) const;

 private:
  struct Known {
    std::string replica_id;  // a replica that was made anew begins with the same numbers
    model::Confirmation confirmation;
    bool written = false;
  };

  Confirmations(store::Database database, const Clock& clock) : clock_(clock), database_(std::move(database)) {}
  [[nodiscard]] absl::Status Load() ABSL_LOCKS_EXCLUDED(mutex_);
  // And forgets the volumes that have no replica any more.
  [[nodiscard]] absl::Status Write(const std::vector<model::ReplicaState>& states)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  mutable absl::Mutex mutex_;
  store::Database database_ ABSL_GUARDED_BY(mutex_);
  std::map<model::VolumeName, Known> known_ ABSL_GUARDED_BY(mutex_);
  absl::Duration next_write_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
};

// Whether the confirmation is of the state that the replica has. Pure.
[[nodiscard]] bool Fits(const model::Confirmation& confirmation, const model::ReplicaState& state);

}  // namespace understudy::dr
