// sync_service.h: the scheduled sync as a configuration describes it: runs on demand, and drctl serve's schedule.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "control/sync/cron.h"
#include "control/sync/runner.h"
#include "core/config/control_config.h"

namespace understudy::control {

struct SyncRequest {
  bool dry_run = false;
  // Of those that are configured, but for what goes to the primary only; empty: all of them.
  std::vector<std::string> namespaces = {};
  Trigger trigger = Trigger::kManual;
  bool made_up = false;
  bool accept_cluster = false;   // StaleOptions::accept_cluster
  bool only_to_primary = false;  // what DR has the live copies of, and nothing else
};

// The clusters and agents of a configuration, ready for runs. Each volume's objects go the way that its data goes: to
// DR, or, where a failover was turned round, to the primary. Thread-safe, one run at a time.
class SyncEngine {
 public:
  // INVALID_ARGUMENT or NOT_FOUND: the configuration names no clusters, or files that can't be used. That a cluster or
  // an agent can't be reached is no error yet.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SyncEngine>> Create(const config::ControlConfig& config);
  ~SyncEngine();
  SyncEngine(const SyncEngine&) = delete;
  SyncEngine& operator=(const SyncEngine&) = delete;

  // INVALID_ARGUMENT: a namespace that has to be configured and isn't. Other errors as of RunAndRecord.
  [[nodiscard]] absl::StatusOr<Report> Run(const RunLease& lease, const SyncRequest& request, SyncState& state,
                                           std::stop_token stop,
                                           const std::function<void(const RunProgress&)>& on_progress);

 private:
  struct Parts;
  explicit SyncEngine(std::unique_ptr<Parts> parts);
  const std::unique_ptr<Parts> parts_;
};

// The schedule of drctl serve, from Start until it is destroyed. Thread-safe.
class SyncService {
 public:
  // nullptr: the configuration names no primary cluster, so there is nothing to sync. Errors as of SyncEngine::Create,
  // ParseSchedule and SyncState::Open.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SyncService>> Start(const config::ControlConfig& config);
  ~SyncService();
  SyncService(const SyncService&) = delete;
  SyncService& operator=(const SyncService&) = delete;

  struct Status {
    std::optional<RunProgress> running;  // the run that this process makes
    std::optional<absl::Time> next_due;  // none: the schedule isn't enabled
    size_t pending_deliveries = 0;
    std::vector<RunSummary> runs;  // the newest first; also those of other processes
  };
  [[nodiscard]] Status Now() const;

 private:
  struct Parts;
  explicit SyncService(std::unique_ptr<Parts> parts);
  const std::unique_ptr<Parts> parts_;
};

// OK, or what is wrong with the configuration's cron expression or time zone.
[[nodiscard]] absl::Status CheckSchedule(const config::ControlConfig& config);

}  // namespace understudy::control
