// scheduler.h: keeps the schedule: runs when it is due, and makes up, once, for what was due while nothing served.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "control/sync/cron.h"
#include "control/sync/state.h"
#include "core/base/clock.h"

namespace understudy::control {

// What the schedule asks for at `now`, when it was kept until `kept_until`: a run, once for however many were due, or
// patience until `next`. Pure.
struct Due {
  bool now = false;
  absl::Time next;
};
[[nodiscard]] Due DueAt(const CronSchedule& schedule, absl::Time kept_until, absl::Time now);
// `kept_until`, or `now` when the clock was set back so far that the schedule would stand still meanwhile. Pure.
[[nodiscard]] absl::Time AfterSettingTheClock(absl::Time kept_until, absl::Time now);

class Scheduler {
 public:
  // Makes a run under the lease; `made_up`: it was due before this scheduler began.
  using MakeRun = std::function<void(const RunLease& lease, bool made_up, std::stop_token stop)>;

  // `state` and `clock` must outlive it.
  Scheduler(CronSchedule schedule, SyncState& state, MakeRun make_run, Clock& clock = Clock::System())
      : schedule_(schedule), state_(state), make_run_(std::move(make_run)), clock_(clock) {}

  // Keeps the schedule until `stop`. A schedule that never ran begins now. While another run is under way a run that is
  // due waits for it. One that `stop` ended is due again. To be called once.
  void Run(std::stop_token stop);

  // Thread-safe. nullopt: not known yet.
  [[nodiscard]] std::optional<absl::Time> NextDue() const;

 private:
  [[nodiscard]] absl::Status Step(absl::Time began, std::stop_token stop);
  void SetNext(absl::Time next);

  const CronSchedule schedule_;
  SyncState& state_;
  const MakeRun make_run_;
  Clock& clock_;
  mutable absl::Mutex mutex_;
  std::optional<absl::Time> next_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::control
