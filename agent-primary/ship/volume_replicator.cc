#include "agent-primary/ship/volume_replicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/base/log.h"
#include "core/model/path.h"
#include "core/wire/status_fence.h"

namespace understudy::primary {
namespace {

constexpr absl::Duration kFirstRetry = absl::Milliseconds(200);
constexpr absl::Duration kLongestRetry = absl::Seconds(15);
// What was acknowledged longer ago and isn't known to be published calls for a new session: opening one publishes, or
// says why not.
constexpr absl::Duration kPublishPatience = absl::Seconds(10);
// A file that can't be read is tried again after so long.
constexpr absl::Duration kUnreadableRetry = absl::Seconds(2);
constexpr size_t kMaxUnreadableKept = 1000;
constexpr size_t kMaxDamagedKept = 1000;
// A volume that no hint covers is scanned so often, but no more than a tenth of the time.
constexpr absl::Duration kUncoveredRescan = absl::Minutes(1);
constexpr int kUncoveredScanShare = 10;

absl::Duration RetryDelay(int failures_in_a_row) {
  return std::min(kLongestRetry, kFirstRetry * (int64_t{1} << std::min(failures_in_a_row, 10)));
}

}  // namespace

std::string_view ToString(ReplicationState state) {
  switch (state) {
    case ReplicationState::kConnecting:
      return "connecting";
    case ReplicationState::kScanning:
      return "scanning";
    case ReplicationState::kReplicating:
      return "replicating";
    case ReplicationState::kIdle:
      return "idle";
    case ReplicationState::kGuarded:
      return "guarded";
    case ReplicationState::kPaused:
      return "paused";
    case ReplicationState::kPromoted:
      return "promoted";
    case ReplicationState::kHandedOver:
      return "handed-over";
    case ReplicationState::kError:
      return "error";
  }
  AbortOnBrokenInvariant("known ReplicationState", __FILE__, __LINE__);
}

absl::StatusOr<std::unique_ptr<VolumeReplicator>> VolumeReplicator::Open(
    const model::VolumeName& name, const std::string& path, const std::string& replica_root,
    const std::string& index_file, const ReplicatorOptions& options, const Clock& clock) {
  ASSIGN_OR_RETURN(std::unique_ptr<VolumeIndex> index, VolumeIndex::Open(index_file));
  std::unique_ptr<VolumeReplicator> replicator(
      new VolumeReplicator(name, path, replica_root, std::move(index), options, clock));
  replicator->CopyIndexState();
  RETURN_IF_ERROR(replicator->LoadLooks());
  const std::optional<HeldDeletion>& held = replicator->index_->guard().held;
  if (held.has_value() && !held->approved) {
    absl::MutexLock lock(&replicator->mutex_);
    replicator->status_.guard = DescribeHeld(name, *held);
  }
  return replicator;
}

VolumeReplicator::VolumeReplicator(const model::VolumeName& name, std::string path, std::string replica_root,
                                   std::unique_ptr<VolumeIndex> index, const ReplicatorOptions& options,
                                   const Clock& clock)
    : name_(name),
      path_(std::move(path)),
      replica_root_(std::move(replica_root)),
      options_(options),
      clock_(clock),
      index_(std::move(index)),
      dirty_(options.times),
      next_rescan_(clock.Monotonic() + options.rescan_interval),
      publish_overdue_(clock.Monotonic() + kPublishPatience),
      stalled_since_(clock.Monotonic()),
      created_(clock.Monotonic()),
      guard_recheck_(absl::InfiniteDuration()),
      guard_pause_(options.times.max_delay) {
  // What changed while nobody watched is found by a scan.
  absl::MutexLock lock(&mutex_);
  dirty_.AddWholeVolume(created_, /*hinted=*/false);
}

void VolumeReplicator::OnHint(std::string_view path, HintKind kind, bool at_once) {
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_.Monotonic();
  dirty_.Add(path, kind, at_once, now);
  guard_recheck_ = std::min(guard_recheck_, now + guard_pause_);
}

void VolumeReplicator::OnInode(uint64_t inode, bool at_once) {
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_.Monotonic();
  dirty_.AddInode(inode, at_once, now);
  guard_recheck_ = std::min(guard_recheck_, now + guard_pause_);
}

void VolumeReplicator::OnOverflow() {
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_.Monotonic();
  dirty_.AddWholeVolume(now, /*hinted=*/true);
  guard_recheck_ = std::min(guard_recheck_, now + guard_pause_);
}

void VolumeReplicator::OnDamaged(const model::DamagedFile& file) {
  absl::MutexLock lock(&mutex_);
  // What is past the bound is told again.
  if (damaged_.size() < kMaxDamagedKept || damaged_.contains(file.path)) damaged_[file.path] = file;
}

void VolumeReplicator::OnCoverage(const absl::Status& coverage) {
  absl::MutexLock lock(&mutex_);
  coverage_ = coverage;
  if (!coverage_.ok()) next_rescan_ = std::min(next_rescan_, clock_.Monotonic() + kUncoveredRescan);
}

std::optional<absl::Duration> VolumeReplicator::NextRun() const {
  absl::MutexLock lock(&mutex_);
  if (paused()) return std::nullopt;
  std::optional<absl::Duration> next = dirty_.NextDue();
  if (status_.guard.has_value()) next = guard_recheck_;
  // Opening tells what DR has, and that it can be reached, before anything has to be sent.
  if (!session_open_ || BarrierWaits() || approval_.has_value() || !damaged_.empty()) {
    next = -absl::InfiniteDuration();
  }
  if (!next.has_value() || next_rescan_ < *next) next = next_rescan_;
  if (!status_.guard.has_value()) next = std::min(*next, next_large_look_);
  if (status_.published_sequence < status_.sequence) next = std::min(*next, publish_overdue_);
  return std::max(*next, not_before_);
}

bool VolumeReplicator::BarrierWaits() const {
  return barrier_requested_ > std::max(barrier_passed_, barrier_refused_);
}

absl::Status VolumeReplicator::Run(model::ReplicaSink& sink, std::stop_token stop) {
  held_back_ = false;
  std::stop_source run;
  {
    absl::MutexLock lock(&mutex_);
    if (paused()) return absl::OkStatus();
    run_ = run;
    running_ = true;
    const bool unpublished = status_.published_sequence < status_.sequence;
    if (unpublished && clock_.Monotonic() >= publish_overdue_) session_open_ = false;
    // A volume without changes hears nothing of DR, which may have been promoted, written to and demoted meanwhile.
    if (BarrierWaits() && opened_for_barrier_ < barrier_requested_) session_open_ = false;
    opens_for_barrier_ = barrier_requested_;
  }
  const std::stop_callback pass_on(std::move(stop), [&run] { run.request_stop(); });
  const absl::Status status = RunOnce(sink, run.get_token());
  absl::MutexLock lock(&mutex_);
  running_ = false;
  if (!status.ok()) stalled_since_ = std::min(stalled_since_, clock_.Monotonic());
  return status;
}

absl::Status VolumeReplicator::RunOnce(model::ReplicaSink& sink, std::stop_token stop) {
  absl::Status status = session_open_ ? absl::OkStatus() : OpenSession(sink);
  if (status.ok()) status = DoubtDamaged();
  if (status.ok()) status = CaptureOnce(sink, std::move(stop));
  if (status.ok() || held_back_) {
    failures_in_a_row_ = 0;
    refusals_in_a_row_ = 0;
    return status;
  }
  session_open_ = false;
  if (absl::IsCancelled(status)) return status;
  if (const std::optional<model::Epoch> fence = wire::FenceOf(status)) return HoldPromoted(status, *fence);
  removals_first_ |= absl::IsResourceExhausted(status);
  if (absl::IsDataLoss(status)) {
    if (absl::Status doubted = DoubtIndex(status); !doubted.ok()) status = doubted;
  }
  absl::MutexLock lock(&mutex_);
  status_.state = absl::IsUnavailable(status) ? ReplicationState::kConnecting : ReplicationState::kError;
  status_.error = std::string(MessageOf(status));
  not_before_ = clock_.Monotonic() + RetryDelay(failures_in_a_row_++);
  return status;
}

void VolumeReplicator::SetUnreachable(const absl::Status& reason) {
  absl::MutexLock lock(&mutex_);
  status_.state = ReplicationState::kConnecting;
  status_.error = std::string(MessageOf(reason));
}

void VolumeReplicator::SetPublished(model::Sequence sequence) {
  absl::MutexLock lock(&mutex_);
  status_.published_sequence = std::max(status_.published_sequence, sequence);
}

absl::Status VolumeReplicator::CaptureOnce(model::ReplicaSink& sink, std::stop_token stop) {
  ApplyApproval();
  Look look = TakeDirty();
  absl::StatusOr<os::Root> root = os::Root::Open(path_);
  if (absl::Status found = root.ok() ? FindUntold(look, *root) : absl::OkStatus(); !found.ok()) {
    PutBack(look.batch);
    return found;
  }
  EndLongRests(look);
  ForgetLeftOut(look.batch);
  if (absl::IsNotFound(root.status()) || absl::IsFailedPrecondition(root.status())) {
    return Hold(look, DescribeMissingFolder(root.status()));
  }
  absl::StatusOr<CaptureResult> result =
      root.ok() ? Capture(look.batch, look.ignores_rests, *root, sink, std::move(stop))
                : Annotate(root.status(), "the volume's folder can't be opened; nothing is replicated until it can");
  const bool right_folder = result.ok() && !(result->held.has_value() && result->held->kind == kRootGuard);
  if (right_folder && unwatched_) WatchAgain();
  if (result.ok() && result->held.has_value()) return Hold(look, *std::move(result->held));
  if (!result.ok()) {
    PutBack(look.batch);
    return result.status();
  }
  const absl::StatusOr<bool> large_files = index_->HasLarge();
  if (!large_files.ok()) {
    PutBack(look.batch);
    return large_files.status();
  }
  removals_first_ = false;
  GoOnAfterGuard();
  for (const auto& kept : result->unreadable) {
    if (unreadable_.size() < kMaxUnreadableKept) unreadable_.insert(kept);
  }
  if (resting_.empty()) resting_since_ = look.began;
  for (const auto& [path, until] : result->postponed) resting_.insert(path);
  CopyIndexState();
  Settle(look, *result, *large_files);
  SetPublished(sink.Published(name_));
  return absl::OkStatus();
}

VolumeReplicator::Look VolumeReplicator::TakeDirty() {
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_.Monotonic();
  Look look{.began = now, .barrier = std::min(barrier_requested_, opened_for_barrier_)};
  look.barrier_waits = look.barrier > std::max(barrier_passed_, barrier_refused_);
  const bool sees_all = coverage_.ok();
  if (now >= next_rescan_ || (look.barrier_waits && !sees_all)) {
    dirty_.AddWholeVolume(now, /*hinted=*/false);
    next_rescan_ = now + (sees_all ? options_.rescan_interval : std::min(options_.rescan_interval, kUncoveredRescan));
  }
  look.batch = dirty_.Take(now, /*all=*/look.barrier_waits);
  look.large_files = look.barrier_waits || now >= next_large_look_;
  oldest_in_flight_ = look.batch.oldest_hint;
  status_.state = look.batch.whole_volume ? ReplicationState::kScanning : ReplicationState::kReplicating;
  status_.error.clear();
  return look;
}

void VolumeReplicator::PutBack(const DirtyBatch& batch) {
  absl::MutexLock lock(&mutex_);
  dirty_.Restore(batch);
  oldest_in_flight_.reset();
}

// While files rest, no state of the replica is one that the volume had as a whole.
void VolumeReplicator::EndLongRests(Look& look) {
  look.ignores_rests = look.barrier_waits;
  if (resting_.empty() || look.began < resting_since_ + kLongestPartial) return;
  look.ignores_rests = true;
  for (const std::string& path : resting_) look.batch.paths.push_back({path, false});
}

absl::StatusOr<CaptureResult> VolumeReplicator::Capture(const DirtyBatch& batch, bool ignores_rests,
                                                        const os::Root& root, model::ReplicaSink& sink,
                                                        std::stop_token stop) {
  std::shared_ptr<BaseStore> bases;
  const auto open_bases = [&](const os::Root& root_now) {
    bases = OpenBases(root_now);
    return bases.get();
  };
  std::optional<model::Consistency> known_consistency;
  {
    absl::MutexLock lock(&mutex_);
    if (ignores_rests) known_consistency = status_.consistency;
  }
  absl::StatusOr<CaptureResult> result = RunCapture({.volume = name_,
                                                     .root = root,
                                                     .index = *index_,
                                                     .sink = sink,
                                                     .strategy = options_.strategy,
                                                     .guard = options_.guard,
                                                     .now_nanoseconds = absl::ToUnixNanos(clock_.Now()),
                                                     .stop = std::move(stop),
                                                     .leftovers = &leftovers_,
                                                     .labels = options_.labels,
                                                     .lacks_entries = !unreadable_.empty() || !resting_.empty(),
                                                     .removals_first = removals_first_,
                                                     .open_bases = open_bases,
                                                     .ignores_rests = ignores_rests,
                                                     .fine_times = HasFineTimes(root),
                                                     .is_all_told = [this](const auto& but) { return IsAllTold(but); },
                                                     .known_consistency = known_consistency,
                                                     .most_inline_bytes = options_.most_inline_bytes,
                                                     .clock = clock_},
                                                    batch);
  if (bases != nullptr && result.ok() && result->commits > 0) CollectBases(*bases);
  if (result.ok() && result->largest_look.has_value()) TellWhyNotExtents(*result->largest_look);
  return result;
}

// What a capture that succeeded leads to: what is looked at again, whether the barrier is passed, what is shown.
void VolumeReplicator::Settle(const Look& look, const CaptureResult& result, bool large_files) {
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_.Monotonic();
  if (look.batch.whole_volume && !coverage_.ok()) {
    next_rescan_ = std::max(next_rescan_, now + kUncoveredScanShare * (now - look.began));
  }
  oldest_in_flight_.reset();
  if (!large_files) {
    next_large_look_ = absl::InfiniteDuration();
  } else if (look.batch.whole_volume || next_large_look_ == absl::InfiniteDuration()) {
    next_large_look_ = now + options_.times.max_delay;
  }
  stalled_since_ = absl::InfiniteDuration();
  if (look.batch.whole_volume && !result.more && resting_.empty()) unseen_since_nanoseconds_ = 0;
  for (const std::string& path : result.look_again) dirty_.AddRecheck(path, now);
  for (const auto& [path, why] : result.unreadable) dirty_.AddRecheck(path, now + kUnreadableRetry);
  for (const auto& [path, until] : result.postponed) dirty_.Postpone(path, until, look.batch.oldest_hint, now);
  if (!unreadable_.empty()) {
    const auto& [path, why] = *unreadable_.begin();
    status_.error = fmt::format(
        "{} entries of the volume can't be read and aren't replicated as they are now; the "
        "first is '{}': {}",
        unreadable_.size(), Printable(path), why);
  }
  if (result.more) {
    DirtyBatch rest;
    rest.whole_volume = true;
    rest.oldest_hint = look.batch.oldest_hint;
    dirty_.Restore(rest);
  } else if (look.barrier_waits && !unreadable_.empty()) {
    not_before_ = now + kUnreadableRetry;  // it waits for these, too
  } else if (look.barrier_waits) {
    barrier_passed_ = look.barrier;
    barrier_sequence_ = index_->state().sequence;
  }
  status_.state = dirty_.NextDue().has_value() ? ReplicationState::kReplicating : ReplicationState::kIdle;
  status_.commits += result.commits;
  status_.content_bytes_sent += result.content_bytes_sent;
  if (!result.rung.empty()) status_.strategy = std::string(result.rung);
  NoteLooks(result);
  if (result.commits == 0) return;
  status_.consistency = result.consistency;
  told_sequence_ = index_->state().sequence;
  status_.last_acknowledged_nanoseconds = absl::ToUnixNanos(clock_.Now());
  publish_overdue_ = now + kPublishPatience;
}

// What the batch looks at again anyway.
void VolumeReplicator::ForgetLeftOut(const DirtyBatch& batch) {
  if (batch.whole_volume) {
    unreadable_.clear();
    resting_.clear();
  }
  for (const DirtyPath& dirty : batch.paths) {
    const auto is_in = [&](const std::string& path) {
      return dirty.subtree ? model::IsWithin(path, dirty.path) : path == dirty.path;
    };
    std::erase_if(unreadable_, [&](const auto& kept) { return is_in(kept.first); });
    std::erase_if(resting_, is_in);
  }
}

void VolumeReplicator::CopyIndexState() {
  const IndexState& known = index_->state();
  absl::MutexLock lock(&mutex_);
  status_.sequence = known.sequence;
  status_.epoch = known.epoch;
  status_.complete = known.complete;
  status_.files = index_->entries();
}

uint64_t VolumeReplicator::RequestBarrier(bool rescan) {
  absl::MutexLock lock(&mutex_);
  if (rescan) dirty_.AddWholeVolume(clock_.Monotonic(), /*hinted=*/false);
  ++barrier_requested_;
  if (paused()) barrier_refused_ = barrier_requested_;
  if (promoted_.has_value()) not_before_ = -absl::InfiniteDuration();  // it may be a standby again
  return barrier_requested_;
}

bool VolumeReplicator::AwaitBarrier(uint64_t barrier, bool published, absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto passed = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return barrier_passed_ >= barrier && (!published || status_.published_sequence >= barrier_sequence_);
  };
  const auto ended = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return passed() || (barrier_refused_ >= barrier && barrier_passed_ < barrier);
  };
  mutex_.AwaitWithTimeout(absl::Condition(&ended), timeout);
  return passed();
}

absl::Status VolumeReplicator::BarrierRefusal(uint64_t barrier) const {
  absl::MutexLock lock(&mutex_);
  if (barrier_refused_ < barrier || barrier_passed_ >= barrier) return absl::OkStatus();
  if (paused()) return absl::FailedPreconditionError(PauseText());
  if (promoted_.has_value()) return absl::FailedPreconditionError(status_.error);
  return absl::FailedPreconditionError(
      fmt::format("volume '{}' is held back by a guard{}", name_,
                  status_.guard.has_value() ? ": " + status_.guard->reason : "; it goes on by now: try again"));
}

ReplicatorStatus VolumeReplicator::Status() const {
  absl::MutexLock lock(&mutex_);
  ReplicatorStatus status = status_;
  std::optional<absl::Duration> oldest = dirty_.OldestHint();
  if (oldest_in_flight_.has_value() && (!oldest.has_value() || *oldest_in_flight_ < *oldest))
    oldest = oldest_in_flight_;
  // Until everything was across once, the data is as old as the volume is known.
  if (!status.complete) oldest = created_;
  status.lag_seconds = oldest.has_value() ? std::max(0.0, absl::ToDoubleSeconds(clock_.Monotonic() - *oldest)) : 0.0;
  status.lag_seconds = std::max(status.lag_seconds, UnseenLagSeconds());
  status.dirty_paths = dirty_.size();
  if (paused()) {
    status.state = ReplicationState::kPaused;
    status.error.clear();
    status.guard.reset();
    status.paused_reason = PauseText();
    status.paused_since_nanoseconds = paused_since_nanoseconds_;
    // What goes from it now isn't meant for DR.
    if (pauses_.contains(PauseReason::kReclaim)) status.lag_seconds = 0;
    return status;
  }
  if (status.error.empty()) status.error = std::string(MessageOf(coverage_));
  if (!status.guard.has_value()) return status;
  status.state = ReplicationState::kGuarded;
  status.error = status.guard->reason;
  const double held_seconds =
      absl::ToDoubleSeconds(clock_.Now() - absl::FromUnixNanos(status.guard->since_nanoseconds));
  status.lag_seconds = std::max(status.lag_seconds, held_seconds);
  return status;
}

}  // namespace understudy::primary
