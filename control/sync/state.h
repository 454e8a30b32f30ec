// state.h: what outlives a run: the runs and their reports, which cluster they read, when the schedule was last kept,
// and what is still to be delivered or given up. One SQLite file in the state folder, shared by drctl serve and by
// drctl sync (docs/formats/report.md).
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "control/report/outbox.h"
#include "control/report/report.h"
#include "control/sync/ports.h"
#include "core/base/status.h"
#include "core/daemon/state_dir.h"
#include "core/store/database.h"

namespace understudy::control {

inline constexpr size_t kKeptRuns = 100;
// Of so many letters it is known that they were queued; their documents go when they are delivered.
inline constexpr size_t kKnownLetters = 1000;

// One run as a list shows it.
struct RunSummary {
  std::string id;
  Trigger trigger = Trigger::kManual;
  bool made_up = false;
  bool dry_run = false;
  absl::Time started_at;
  std::optional<absl::Time> ended_at;  // none: it is under way, or was interrupted
  std::string result;                  // as ResultOf, "running" or "interrupted"
  nlohmann::ordered_json counts;       // of objects by outcome; null until it has ended
};

// Held by the one run that is under way on this machine; a process that ends, however it does, gives it up.
using RunLease = daemon::StateDir;

// Thread-safe; several processes may have it open. Errors as of store::Database. What a call changed is durable when
// it returns.
class SyncState : public OwedReleases, public Outbox {
 public:
  // Makes the folder with mode 0700 when it is missing.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SyncState>> Open(const std::filesystem::path& state_dir);
  // NOT_FOUND: nothing was ever run here. Makes nothing.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SyncState>> OpenPresent(const std::filesystem::path& state_dir);

  // FAILED_PRECONDITION: another run is under way.
  [[nodiscard]] absl::StatusOr<RunLease> Lease() const;

  // To be called with the lease held. Runs that never ended become "interrupted".
  [[nodiscard]] absl::Status BeginRun(const Report& begun);
  // Keeps the report, and the primary cluster that it recognised (unless it is of a dry run), forgets all but the
  // newest kKeptRuns, and queues a delivery to each target.
  [[nodiscard]] absl::Status EndRun(const Report& report, const std::vector<std::string>& targets);

  // The newest first.
  [[nodiscard]] absl::StatusOr<std::vector<RunSummary>> Runs();
  // `run` empty: of the newest run that has ended. NOT_FOUND: there is none.
  [[nodiscard]] absl::StatusOr<Report> ReportOf(const std::string& run);

  // The uid of the primary cluster that DR's objects are from; empty: no run has recognised it yet.
  [[nodiscard]] absl::StatusOr<std::string> PrimaryCluster();

  [[nodiscard]] absl::StatusOr<std::vector<OwedRelease>> Owed() override;
  [[nodiscard]] absl::Status Owe(const OwedRelease& release) override;
  [[nodiscard]] absl::Status Settle(const OwedRelease& release) override;

  // Up to when every due run was made. nullopt: the schedule never ran.
  [[nodiscard]] absl::StatusOr<std::optional<absl::Time>> ScheduleKeptUntil();
  [[nodiscard]] absl::Status SetScheduleKeptUntil(absl::Time time);

  // Any report's, not only those of the scheduled sync.
  [[nodiscard]] absl::Status QueueLetter(const Letter& letter, const std::vector<std::string>& targets) override;
  [[nodiscard]] absl::StatusOr<std::optional<Delivery>> TakeDelivery(absl::Time now, absl::Duration claim) override;
  [[nodiscard]] absl::Status EndDelivery(int64_t id) override;
  [[nodiscard]] absl::Status PostponeDelivery(int64_t id, absl::Time until, const std::string& error) override;
  [[nodiscard]] absl::StatusOr<size_t> PendingDeliveries() override;

 private:
  SyncState(std::filesystem::path folder, store::Database database)
      : folder_(std::move(folder)), database_(std::move(database)) {}
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SyncState>> OpenFile(const std::filesystem::path& state_dir);
  [[nodiscard]] absl::Status WriteEnd(const Report& report, const std::vector<std::string>& targets)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Within a transaction.
  [[nodiscard]] absl::Status WriteLetter(const Letter& letter, const std::vector<std::string>& targets)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::filesystem::path folder_;
  absl::Mutex mutex_;
  store::Database database_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::control
