#include "control/sync/scheduler.h"

#include <algorithm>

#include "core/base/log.h"
#include "core/base/wait.h"

namespace understudy::control {
namespace {

// The wall clock may be set meanwhile, so it is looked at now and then.
constexpr absl::Duration kLongestSleep = absl::Seconds(15);
constexpr absl::Duration kBusyRetry = absl::Seconds(2);
// Less than this, and a run that was due in between isn't made twice.
constexpr absl::Duration kClockSlack = absl::Minutes(5);

}  // namespace

Due DueAt(const CronSchedule& schedule, absl::Time kept_until, absl::Time now) {
  const absl::Time first = schedule.Next(kept_until);
  return {.now = first <= now, .next = first};
}

absl::Time AfterSettingTheClock(absl::Time kept_until, absl::Time now) {
  return kept_until > now + kClockSlack ? now : kept_until;
}

void Scheduler::Run(std::stop_token stop) {
  const absl::Time began = clock_.Now();
  std::string told;
  while (!stop.stop_requested()) {
    const absl::Status status = Step(began, stop);
    if (status.ok()) {
      told.clear();
      continue;
    }
    const std::string message(MessageOf(status));
    if (message != told) spdlog::warn("the scheduled sync waits: {}", message);
    told = message;
    WaitUnlessStopped(stop, kBusyRetry);
  }
}

absl::Status Scheduler::Step(absl::Time began, std::stop_token stop) {
  ASSIGN_OR_RETURN(const std::optional<absl::Time> kept_until, state_.ScheduleKeptUntil());
  const absl::Time now = clock_.Now();
  if (!kept_until || AfterSettingTheClock(*kept_until, now) != *kept_until) return state_.SetScheduleKeptUntil(now);
  const Due due = DueAt(schedule_, *kept_until, now);
  SetNext(due.next);
  if (!due.now) {
    WaitUnlessStopped(stop, std::min(due.next - now, kLongestSleep));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const RunLease lease, state_.Lease());
  // Before the run: one that takes the process down isn't tried for ever.
  RETURN_IF_ERROR(state_.SetScheduleKeptUntil(now));
  SetNext(schedule_.Next(now));
  make_run_(lease, /*made_up=*/due.next < began, stop);
  return stop.stop_requested() ? state_.SetScheduleKeptUntil(*kept_until) : absl::OkStatus();
}

std::optional<absl::Time> Scheduler::NextDue() const {
  const absl::MutexLock lock(&mutex_);
  return next_;
}

void Scheduler::SetNext(absl::Time next) {
  const absl::MutexLock lock(&mutex_);
  next_ = next;
}

}  // namespace understudy::control
