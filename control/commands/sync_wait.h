// sync_wait.h: one volume's sync that a command waits for, and what it says on stderr meanwhile.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "control/commands/agents_client.h"
#include "control/commands/output.h"
#include "core/base/status.h"
#include "core/config/control_config.h"

namespace understudy::control {

// One line on a terminal that says how far the volumes are, and everywhere what keeps them from it. Thread-safe; the
// console outlives it.
class ProgressLine {
 public:
  explicit ProgressLine(const Console& console) : console_(console) {}
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void Show(const PrimaryVolume& volume);
  void ShowTrouble(const std::string& volume, const std::string& error);

 private:
  void Clear() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Console& console_;
  absl::Mutex mutex_;
  bool shown_ ABSL_GUARDED_BY(mutex_) = false;
};

struct SyncTask {
  std::string volume;
  config::PairConfig pair;  // as its agents stand to the volume (AgentsOf)
};

// As PrimaryClient::Sync, without an end before the barrier unless there is a `timeout`; when that is over and the
// primary says why the volume waits, the error says it, too (SyncWatch::Explain). Thread-safe.
[[nodiscard]] absl::StatusOr<PrimaryVolume> SyncOne(const SyncTask& task, const net::TlsFiles& tls,
                                                    model::SyncDemand demand, absl::Duration timeout,
                                                    ProgressLine& progress);

}  // namespace understudy::control
