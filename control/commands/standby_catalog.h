// standby_catalog.h: what a pair's catalog has to say at the DR cluster.
//
// The objects of a volume that was turned round are DR's own: what the catalog has of them is what there was before
// that, and who doesn't know which volumes these are can't go by the catalog at all.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "control/commands/agents_client.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/config/control_config.h"
#include "core/model/object.h"

namespace understudy::control {

// The names of the volumes that were turned round, as a pair's DR agent says.
[[nodiscard]] absl::StatusOr<std::set<std::string>> ListTurned(const ReplicaClient& replicas);

// The catalog's entries, from the volumes to the snapshots, less what was deleted, what the pair isn't configured to
// hold, and what belongs to volumes that were turned round. `deadline` is each call's to the catalog.
[[nodiscard]] absl::StatusOr<std::vector<model::CatalogEntry>> ListStandbyCatalog(const config::ControlConfig& config,
                                                                                  const config::PairConfig& pair,
                                                                                  absl::Duration deadline);

// For who asks often: an answer holds for a moment. Thread-safe.
class TurnedVolumes {
 public:
  static constexpr absl::Duration kAnswerHolds = absl::Seconds(5);
  static constexpr absl::Duration kErrorHolds = absl::Seconds(1);

  using List = std::function<absl::StatusOr<std::set<std::string>>()>;
  // `list` is called by one thread at a time. `clock` outlives it.
  explicit TurnedVolumes(List list, Clock& clock = Clock::System()) : list_(std::move(list)), clock_(clock) {}

  // An error while there is no answer, or only an old one: since then somebody may have turned the volume.
  [[nodiscard]] absl::StatusOr<bool> Has(const std::string& volume);

 private:
  const List list_;
  Clock& clock_;
  absl::Mutex mutex_;
  absl::StatusOr<std::set<std::string>> turned_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Duration> asked_at_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::control
