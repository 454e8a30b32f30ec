// What replica.h declares of promotions and demotions.
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "agent-dr/commit/replica.h"
#include "agent-dr/commit/state_change.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/os/file_io.h"

namespace understudy::dr {
namespace {

// Of a change of the state that waits for whoever works on the folder.
constexpr absl::Duration kTryInterval = absl::Milliseconds(1);
constexpr absl::Duration kAskInterval = absl::Milliseconds(100);

}  // namespace

Replica::StateLock::StateLock(Replica& replica, const GivenUp& given_up) : replica_(replica), given_up_(given_up) {
  const auto count = [&](int by) {
    absl::MutexLock lock(&replica_.turn_mutex_);
    replica_.state_changes_waiting_ += by;
  };
  count(1);
  has_lock_ = Acquire();
  count(-1);
}

// What it returns says whether it has the lock, which the analysis can't follow.
bool Replica::StateLock::Acquire() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (given_up_ == nullptr) {
    replica_.work_mutex_.Lock();
    return true;
  }
  // In steps, as whoever has the lock may hang. Those that would take it again and again let this one pass.
  for (absl::Duration asked = -absl::InfiniteDuration();;) {
    const absl::Duration now = Clock::System().Monotonic();
    if (now - asked >= kAskInterval) {
      asked = now;
      if (given_up_()) return false;
    }
    if (replica_.work_mutex_.TryLock()) return true;
    absl::SleepFor(kTryInterval);
  }
}

Replica::StateLock::~StateLock() {
  if (has_lock_) replica_.work_mutex_.Unlock();
}

absl::Status Replica::StateLock::Wanted() {
  const bool wanted = has_lock_ && (given_up_ == nullptr || !given_up_());
  return wanted ? absl::OkStatus() : absl::CancelledError("the call was given up, and nothing was changed");
}

void Replica::LetStateChangesPass() const {
  const auto none_waits = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_mutex_) { return state_changes_waiting_ == 0; };
  turn_mutex_.LockWhen(absl::Condition(&none_waits));
  turn_mutex_.Unlock();
}

absl::Status Replica::MakeWay() const {
  {
    absl::MutexLock lock(&turn_mutex_);
    if (state_changes_waiting_ == 0) return absl::OkStatus();
  }
  return absl::AbortedError(fmt::format(
      "it made way for a promotion, a demotion or a reprotection of volume '{}': try again", State().volume));
}

absl::Status Replica::BeSure() {
  if (retired_) return absl::UnavailableError(fmt::format("volume '{}' went to the trash just now", State().volume));
  if (!must_recover_ && folders_ != nullptr) return absl::OkStatus();
  const absl::Status recovered = view_.SetUsable(Recover());
  return recovered.ok() ? recovered : absl::UnavailableError(recovered.message());
}

absl::Status Replica::SettleForGood() {
  session_ = 0;
  if (unpublished_.has_value()) {
    const absl::Status recovered = view_.SetUsable(Recover());
    if (!recovered.ok()) return absl::UnavailableError(recovered.message());
  }
  RETURN_IF_ERROR(SettleLocked());
  // From here on no replay needs anything of what was staged. Nobody goes on with unfinished content, either: what it
  // continues may be changed soon.
  folders_->staging.Clear();
  while (folders_->leftovers.DropOldest()) {
  }
  applied_patches_.clear();
  return folders_->work.DiscardStaging(0);
}

absl::Status Replica::WriteState(const model::ReplicaState& next, const Point& point,
                                 const std::optional<PointLabel>& label) {
  RETURN_IF_ERROR(faults_.Reach(Step::kState, 0));
  session_ = 0;
  must_recover_ = true;
  RETURN_IF_ERROR(store_->ChangeState(next, point, label));
  must_recover_ = false;
  view_.SetState(next);
  view_.SetPoints(point, {});
  view_.SetLabels(label.has_value() ? std::vector<PointLabel>{*label} : std::vector<PointLabel>());
  ran_ = 0;
  rewinding_to_.reset();
  measured_.clear();
  spdlog::info("volume={} state={} epoch={}", next.volume, model::ToString(next.state), next.epoch);
  RETURN_IF_ERROR(faults_.Reach(Step::kState, 1));
  // What undo records kept is only moved aside: taking it apart can take long, and somebody waits for the volume.
  folders_->work.DropUndoFoldersBut({}).IgnoreError();
  return absl::OkStatus();
}

// The undo records go with the state `promoting`: from there on the folder may be written to by others, and a record is
// only right for the very state that it was left for. Whether an operation fits is found before anything is changed,
// but content that others wrote can't be told from the replica's own.
absl::StatusOr<model::ReplicaState> Replica::BeginPromotion(bool allow_incomplete, const GivenUp& given_up) {
  StateLock lock(*this, given_up);
  RETURN_IF_ERROR(lock.Wanted());
  RETURN_IF_ERROR(BeSure());
  const int64_t now = absl::ToUnixNanos(settings_.clock->Now());
  ASSIGN_OR_RETURN(std::optional<model::ReplicaState> next, dr::BeginPromotion(State(), allow_incomplete, now));
  if (!next.has_value()) return State();
  if (rewinding_to_.has_value() && !allow_incomplete) {
    const model::VolumeName volume = State().volume;
    return absl::FailedPreconditionError(fmt::format(
        "volume '{0}' was being taken back to the state after commit {1} and stands at that after commit {2}: take it "
        "back again (drctl points rewind {0}), or promote it as it is with --incomplete",
        volume, *rewinding_to_, NewestPoint().sequence));
  }
  RETURN_IF_ERROR(SettleForGood());
  // From what it is now: settling can have published the newest commit.
  ASSIGN_OR_RETURN(next, dr::BeginPromotion(State(), allow_incomplete, now));
  RETURN_IF_ERROR(lock.Wanted());
  RETURN_IF_ERROR(WriteState(next.value(), NewestPoint()));
  return State();
}

absl::StatusOr<model::ReplicaState> Replica::FinishPromotion() {
  const StateLock lock(*this, nullptr);
  RETURN_IF_ERROR(BeSure());
  ASSIGN_OR_RETURN(const auto next, dr::FinishPromotion(State(), absl::ToUnixNanos(settings_.clock->Now())));
  if (next.has_value()) RETURN_IF_ERROR(WriteState(*next, NewestPoint()));
  return State();
}

absl::StatusOr<model::ReplicaState> Replica::BeginDemotion(const GivenUp& given_up) {
  StateLock lock(*this, given_up);
  RETURN_IF_ERROR(lock.Wanted());
  RETURN_IF_ERROR(BeSure());
  ASSIGN_OR_RETURN(const auto next, dr::BeginDemotion(State(), absl::ToUnixNanos(settings_.clock->Now())));
  RETURN_IF_ERROR(lock.Wanted());
  if (next.has_value()) RETURN_IF_ERROR(WriteState(*next, NewestPoint()));
  return State();
}

absl::StatusOr<model::ReplicaState> Replica::FinishDemotion() {
  const StateLock lock(*this, nullptr);
  RETURN_IF_ERROR(BeSure());
  const int64_t now = absl::ToUnixNanos(settings_.clock->Now());
  ASSIGN_OR_RETURN(const auto next, dr::FinishDemotion(State(), now));
  if (!next.has_value()) return State();
  // The primary's index will say that the replica holds what the comparison finds.
  RETURN_IF_ERROR(os::SyncFilesystem(folders_->root.fd()));
  Point point;
  point.sequence = next->sequence;
  point.committed_at_nanoseconds = now;
  point.complete = next->demoted_whole;
  point.completes_capture = true;  // what clients wrote is a state like any other, to be found and labelled
  std::optional<PointLabel> label;
  if (IsAdopted(*next)) label = PointLabel{point.sequence, AdoptionLabel(next->epoch), /*pinned=*/true};
  RETURN_IF_ERROR(WriteState(*next, point, label));
  return State();
}

absl::Status Replica::SetHooksRun() {
  absl::MutexLock lock(&work_mutex_);
  RETURN_IF_ERROR(BeSure());
  model::ReplicaState state = State();
  if (!state.hooks_due) return absl::OkStatus();
  RETURN_IF_ERROR(store_->SetHooksRun());
  state.hooks_due = false;
  view_.SetState(state);
  return absl::OkStatus();
}

}  // namespace understudy::dr
