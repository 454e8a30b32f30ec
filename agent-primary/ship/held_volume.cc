// The part of VolumeReplicator that holds the volume back: guards and their approvals, pauses, and a promotion at DR.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "agent-primary/ship/volume_replicator.h"
#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::primary {
namespace {

// A volume that is held back is looked at so often, and after a hint; but a look takes a tenth of the time at most.
constexpr absl::Duration kGuardRecheck = absl::Minutes(1);
constexpr int kGuardPauseFactor = 10;
// A volume that was promoted at DR: one small question so often.
constexpr absl::Duration kPromotedRetry = absl::Seconds(30);

}  // namespace

GuardFinding DescribeMissingFolder(const absl::Status& reason) {
  return {
      .kind = kRootGuard,
      .reason = fmt::format("the volume's folder isn't there ({}): is its filesystem mounted? Nothing is replicated "
                            "until it is back",
                            MessageOf(reason))};
}

// Nothing of the batch was submitted; it is looked at again.
absl::Status VolumeReplicator::Hold(const Look& look, GuardFinding finding) {
  held_back_ = true;
  unwatched_ |= finding.kind == kRootGuard;
  const absl::Status refusal = absl::FailedPreconditionError(finding.reason);
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_.Monotonic();
  dirty_.Restore(look.batch);
  oldest_in_flight_.reset();
  barrier_refused_ = std::max(barrier_refused_, look.barrier);
  guard_recheck_ = now + kGuardRecheck;
  guard_pause_ = std::clamp(kGuardPauseFactor * (now - look.began), options_.times.max_delay, kGuardRecheck);
  const bool known = status_.guard.has_value() && status_.guard->kind == finding.kind;
  if (!known) spdlog::error("volume={} held back: {}", name_, finding.reason);
  if (finding.since_nanoseconds == 0) {
    finding.since_nanoseconds = known ? status_.guard->since_nanoseconds : absl::ToUnixNanos(clock_.Now());
  }
  status_.guard = std::move(finding);
  return refusal;
}

void VolumeReplicator::GoOnAfterGuard() {
  std::optional<GuardFinding> guard;
  {
    absl::MutexLock lock(&mutex_);
    guard = std::exchange(status_.guard, std::nullopt);
  }
  if (guard.has_value()) spdlog::info("volume={} not held back any more", name_);
}

void VolumeReplicator::HoldWithoutFolder(const absl::Status& reason) {
  unwatched_ = true;
  absl::MutexLock lock(&mutex_);
  status_.guard = DescribeMissingFolder(reason);
  status_.guard->since_nanoseconds = absl::ToUnixNanos(clock_.Now());
}

absl::Status VolumeReplicator::HoldPromoted(const absl::Status& refusal, model::Epoch epoch) {
  held_back_ = true;
  failures_in_a_row_ = 0;
  absl::MutexLock lock(&mutex_);
  if (promoted_ != epoch) spdlog::error("volume={} {}", name_, MessageOf(refusal));
  promoted_ = epoch;
  status_.state = ReplicationState::kPromoted;
  status_.error = std::string(MessageOf(refusal));
  barrier_refused_ = std::max(barrier_refused_, barrier_requested_);
  not_before_ = clock_.Monotonic() + kPromotedRetry;
  return refusal;
}

void VolumeReplicator::Pause(PauseReason reason, int64_t since_nanoseconds, bool restored) {
  std::stop_source run;
  {
    absl::MutexLock lock(&mutex_);
    if (!pauses_.insert(reason).second) return;
    if (reason == PauseReason::kOperator) paused_since_nanoseconds_ = since_nanoseconds;
    if (restored) unseen_since_nanoseconds_ = since_nanoseconds;
    barrier_refused_ = std::max(barrier_refused_, barrier_requested_);
    run = run_;
  }
  run.request_stop();
  spdlog::info("volume={} paused: {}", name_,
               reason == PauseReason::kReclaim ? "what goes from it now stays at DR" : "until it is resumed");
}

void VolumeReplicator::Resume(PauseReason reason) {
  absl::MutexLock lock(&mutex_);
  if (pauses_.erase(reason) == 0) return;
  if (reason == PauseReason::kOperator) paused_since_nanoseconds_ = 0;
  spdlog::info("volume={} {}", name_, paused() ? "still paused, for another reason" : "not paused any more");
}

bool VolumeReplicator::AwaitQuiet(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  const auto quiet = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !running_; };
  return mutex_.AwaitWithTimeout(absl::Condition(&quiet), timeout);
}

std::string VolumeReplicator::PauseText() const {
  if (pauses_.contains(PauseReason::kReclaim)) {
    return fmt::format(
        "volume '{}' is paused: its claim is gone, and its data is about to be deleted at the primary; DR keeps it as "
        "it was",
        name_);
  }
  return fmt::format("volume '{0}' is paused since {1}: nothing of it is replicated until `drctl volumes resume {0}`",
                     name_, Rfc3339Seconds(absl::FromUnixNanos(paused_since_nanoseconds_)));
}

double VolumeReplicator::UnseenLagSeconds() const {
  if (unseen_since_nanoseconds_ == 0) return 0;
  return std::max(0.0, absl::ToDoubleSeconds(clock_.Now() - absl::FromUnixNanos(unseen_since_nanoseconds_)));
}

void VolumeReplicator::WatchAgain() {
  unwatched_ = false;
  if (options_.rewatch) options_.rewatch(name_);
  // What changed while nobody watched.
  absl::MutexLock lock(&mutex_);
  dirty_.AddWholeVolume(clock_.Monotonic(), /*hinted=*/false);
}

void VolumeReplicator::ApplyApproval() {
  std::optional<Approval> approval;
  uint64_t number = 0;
  {
    absl::MutexLock lock(&mutex_);
    approval = std::exchange(approval_, std::nullopt);
    number = approvals_requested_;
  }
  if (!approval.has_value()) return;
  absl::Status outcome = Approve(*approval);
  if (outcome.ok()) {
    spdlog::info("volume={} approved: what the {} guard held back", name_, approval->kind);
    GoOnAfterGuard();
  }
  absl::MutexLock lock(&mutex_);
  // An approval ends with a look at everything.
  if (outcome.ok()) dirty_.AddWholeVolume(clock_.Monotonic(), /*hinted=*/false);
  approvals_done_ = number;
  approval_outcome_ = std::move(outcome);
}

absl::Status VolumeReplicator::Approve(const Approval& approval) {
  if (approval.kind == kRootGuard) {
    absl::StatusOr<os::Root> root = os::Root::Open(path_);
    if (!root.ok())
      return absl::FailedPreconditionError(fmt::format("there is no folder to take: {}", MessageOf(root.status())));
    return TakeRoot(*index_, *root, approval.root);
  }
  GuardRecord record = index_->guard();
  RETURN_IF_ERROR(ApproveDeletion(record, approval.entries_gone));
  return index_->SaveGuard(record, store::Durability::kFull);
}

absl::StatusOr<uint64_t> VolumeReplicator::RequestApproval(const std::string& kind, uint64_t entries_gone) {
  absl::MutexLock lock(&mutex_);
  if (paused()) return absl::FailedPreconditionError(PauseText());
  if (!status_.guard.has_value() || status_.guard->kind != kind) {
    return absl::FailedPreconditionError(
        fmt::format("volume '{}' isn't held back by the guard '{}'; `drctl guard list` shows what is", name_, kind));
  }
  approval_ = Approval{kind, entries_gone, status_.guard->root};
  return ++approvals_requested_;
}

absl::Status VolumeReplicator::AwaitApproval(uint64_t approval, absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto done = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return approvals_done_ >= approval; };
  if (mutex_.AwaitWithTimeout(absl::Condition(&done), timeout)) return approval_outcome_;
  if (approvals_requested_ == approval) approval_.reset();
  return absl::UnavailableError(
      fmt::format("volume '{}' is busy, or has no connection to DR: nothing was approved; try again", name_));
}

}  // namespace understudy::primary
