// volume_replicator.h: one volume on its way to DR: hints come in, captures go out, barriers are waited for.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/capture/base_store.h"
#include "agent-primary/capture/file_capture.h"
#include "agent-primary/index/volume_index.h"
#include "agent-primary/ship/capture_run.h"
#include "agent-primary/ship/file_looks.h"
#include "agent-primary/ship/file_report.h"
#include "agent-primary/watch/dirty_set.h"
#include "core/base/clock.h"
#include "core/model/replica_sink.h"
#include "core/os/metadata.h"

namespace understudy::primary {

// How often TendBases is called.
inline constexpr absl::Duration kTendBases = absl::Seconds(2);
// Bases outlive so long without replication: a restart of DR, or of the network.
inline constexpr absl::Duration kBasesPatience = absl::Minutes(5);
// After so long, large files are captured though their writers could rest some more (BaseStore::RestsUntil).
inline constexpr absl::Duration kLongestPartial = absl::Minutes(1);

enum class ReplicationState {
  kConnecting,
  kScanning,
  kReplicating,
  kIdle,
  kGuarded,
  kPaused,
  kPromoted,
  kHandedOver,
  kError
};
[[nodiscard]] std::string_view ToString(ReplicationState state);

// Why nothing of a volume is captured. Each reason is given and taken back by itself; a volume goes on when none is
// left.
enum class PauseReason {
  kReclaim,   // its claim is gone, and who reclaims it takes its data away: DR keeps it as it was
  kOperator,  // somebody asked for it (drctl volumes pause)
};

struct ReplicatorOptions {
  DirtyTimes times{absl::Milliseconds(100), absl::Seconds(1)};
  absl::Duration rescan_interval = absl::Hours(1);
  Strategy strategy = Strategy::kAuto;
  os::Labels labels = os::Labels::kOmit;
  GuardLimits guard{};
  model::Epoch least_epoch = 0;  // that the volume is opened with, whatever its index knows
  std::string export_path{};     // absolute; large files are frozen in its work folder. Empty: they aren't
  uint64_t least_frozen_bytes = kLeastFrozenBytes;
  // Returns when all that happened before the call was hinted at; nullptr: it was already. DEADLINE_EXCEEDED: it took
  // longer. Called by the volume's lane.
  std::function<absl::Status(absl::Duration timeout)> flush_hints{};
  uint64_t most_inline_bytes = kMaxBuilderInlineBytes;
  // Called by the volume's lane when its folder is there again, or another one was taken: it has to be watched anew.
  std::function<void(const model::VolumeName&)> rewatch{};
};

struct ReplicatorStatus {
  ReplicationState state = ReplicationState::kConnecting;
  std::string error;                     // what keeps it from replicating
  std::optional<GuardFinding> guard;     // set while a guard holds it back
  std::string paused_reason;             // while it is paused: why, and what to do
  int64_t paused_since_nanoseconds = 0;  // Unix time, by PauseReason::kOperator; 0: it isn't
  std::string handed_over_reason;        // of a volume that the data plane has handed over: no replicator has it
  double lag_seconds = 0;
  model::Sequence sequence = 0;
  model::Sequence published_sequence = 0;
  model::Epoch epoch = 0;
  bool complete = false;
  std::string strategy;
  std::string strategy_reason;  // why large files aren't told by their extents, where that is so
  // Of the state that DR has.
  model::Consistency consistency = model::Consistency::kUnknown;
  uint64_t dirty_paths = 0;
  uint64_t files = 0;
  uint64_t content_bytes_sent = 0;
  uint64_t commits = 0;
  int64_t last_acknowledged_nanoseconds = 0;
};

// Add*, Hint*, Status and the barrier calls are thread-safe. Run, NextRun and ForgetSession belong to the volume's
// lane.
class VolumeReplicator {
 public:
  // `path` and `replica_root` are absolute. `index_file` is made when it isn't there. `clock` must outlive it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<VolumeReplicator>> Open(
      const model::VolumeName& name, const std::string& path, const std::string& replica_root,
      const std::string& index_file, const ReplicatorOptions& options, const Clock& clock);

  [[nodiscard]] const model::VolumeName& name() const { return name_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& replica_root() const { return replica_root_; }

  void OnHint(std::string_view path, HintKind kind, bool at_once);
  void OnInode(uint64_t inode, bool at_once);
  void OnOverflow();
  // DR found this file of the replica damaged: its content is sent again.
  void OnDamaged(const model::DamagedFile& file);
  // As HintSink::OnCoverage. While it isn't OK a barrier looks at the whole volume, and so does a scan every minute.
  void OnCoverage(const absl::Status& coverage);

  // When Run has something to do (Clock::Monotonic); nullopt: only after a hint or a barrier.
  [[nodiscard]] std::optional<absl::Duration> NextRun() const;
  // Captures everything that is due and waits for its acknowledgement. An error is also kept for the status; the next
  // run is put off. FAILED_PRECONDITION with held_back(): a guard holds the volume back, and the session goes on; or
  // DR was promoted, which is asked again from time to time, and when a barrier is asked for.
  [[nodiscard]] absl::Status Run(model::ReplicaSink& sink, std::stop_token stop);
  // CANCELLED: `stop`, or the volume was paused.
  [[nodiscard]] bool held_back() const { return held_back_; }
  // The connection was lost: the volume has to be opened again.
  void ForgetSession();
  // Before the first run, when the volume's folder isn't there: held back by the root guard until it is.
  void HoldWithoutFolder(const absl::Status& reason);
  void SetUnreachable(const absl::Status& reason);
  // Every few seconds, whatever the lane does (kTendBases): bases keep the room of what was overwritten, and are given
  // up where that isn't worth it: the filesystem fills up, or nothing has been replicated for some minutes.
  // Thread-safe.
  void TendBases();
  // From time to time: what the replica's folder is known to show.
  void SetPublished(model::Sequence sequence);

  // Nothing is captured or sent until each reason was taken back; a run that is under way ends before its next
  // operation. Barriers are refused. `since_nanoseconds` (Unix time) of PauseReason::kOperator; `restored`: it was
  // paused before this agent started, which doesn't know of changes from before, so the data counts as that old.
  void Pause(PauseReason reason, int64_t since_nanoseconds = 0, bool restored = false);
  void Resume(PauseReason reason);
  // False: after `timeout` the volume is paused, but a run is still under way.
  [[nodiscard]] bool AwaitQuiet(absl::Duration timeout) const;

  // Asks for a run that takes in everything that was hinted at before the call, and looks at every large file in any
  // case; with `rescan` at every entry.
  [[nodiscard]] uint64_t RequestBarrier(bool rescan = false);
  // True once the barrier is passed, with `published` in the replica's folder too.
  [[nodiscard]] bool AwaitBarrier(uint64_t barrier, bool published, absl::Duration timeout);

  // FAILED_PRECONDITION once a guard, a pause or a promotion at DR refused the barrier: it won't be passed.
  [[nodiscard]] absl::Status BarrierRefusal(uint64_t barrier) const;

  // Asks the lane to let what the guard of this kind (GuardFinding) holds back happen, up to `entries_gone` deletions.
  // FAILED_PRECONDITION: that guard doesn't hold the volume back.
  [[nodiscard]] absl::StatusOr<uint64_t> RequestApproval(const std::string& kind, uint64_t entries_gone);
  // OK once the approval is recorded. FAILED_PRECONDITION: more would go by now, or there is no folder to take.
  // UNAVAILABLE: the lane didn't come to it in time; the request is withdrawn.
  [[nodiscard]] absl::Status AwaitApproval(uint64_t approval, absl::Duration timeout);

  [[nodiscard]] ReplicatorStatus Status() const;
  // What stands at `path` in the volume. NOT_FOUND: nothing does. Thread-safe, as the next one.
  [[nodiscard]] absl::StatusOr<FileReport> DescribeFile(const std::string& path);
  // Of the largest files that were captured.
  [[nodiscard]] std::vector<FileReport> DescribeLargest();

 private:
  struct Approval {
    std::string kind;
    uint64_t entries_gone;
    std::optional<RootIdentity> root;
  };

  // What one run looks at, and the barrier that was asked for when it began.
  struct Look {
    DirtyBatch batch{};
    absl::Duration began;
    uint64_t barrier = 0;
    bool barrier_waits = false;
    bool large_files = false;  // each is looked at, hinted at or not
    bool ignores_rests = false;
  };

  VolumeReplicator(const model::VolumeName& name, std::string path, std::string replica_root,
                   std::unique_ptr<VolumeIndex> index, const ReplicatorOptions& options, const Clock& clock);
  absl::Status OpenSession(model::ReplicaSink& sink);
  absl::Status Reconcile(model::ReplicaSink& sink, const model::ReplicaState& replica);
  absl::Status LookAtUnsettled();
  // What DR found damaged isn't what the index says.
  absl::Status DoubtDamaged();
  absl::Status DoubtIndex(const absl::Status& refusal);
  absl::Status CaptureOnce(model::ReplicaSink& sink, std::stop_token stop);
  Look TakeDirty();
  void PutBack(const DirtyBatch& batch);
  // untold_changes.cc
  absl::Status FindUntold(Look& look, const os::Root& root);
  absl::Status NameInodes(DirtyBatch& batch);
  absl::Status LookAtLargeFiles(Look& look, const os::Root& root);
  // It isn't what the index knows, and nothing waits for it.
  absl::StatusOr<bool> IsUntold(const std::string& path, const os::Root& root);
  // volume_moment.cc
  absl::Status CompleteMoment(Look& look);
  void TakeAlong(Look& look);
  absl::StatusOr<bool> HasLargeFile(const DirtyBatch& batch);
  bool IsAllTold(const FrozenFiles& but);
  bool HasFineTimes(const os::Root& root);
  absl::StatusOr<CaptureResult> Capture(const DirtyBatch& batch, bool ignores_rests, const os::Root& root,
                                        model::ReplicaSink& sink, std::stop_token stop);
  // volume_bases.cc. Nothing is lost without bases, so whatever keeps them away is told, once.
  std::shared_ptr<BaseStore> OpenBases(const os::Root& root);
  void CollectBases(BaseStore& bases);
  void GiveUpBases(const std::string& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(bases_mutex_);
  [[nodiscard]] std::optional<std::string> WhyNoBases() const;
  void TellWhyNotExtents(const LargeFileLook& look);
  void EndLongRests(Look& look);
  absl::Status LoadLooks();  // what the index knows of bases
  void NoteLooks(const CaptureResult& result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Settle(const Look& look, const CaptureResult& result, bool large_files);
  absl::Status RunOnce(model::ReplicaSink& sink, std::stop_token stop);
  absl::Status Hold(const Look& look, GuardFinding finding);
  // DR was promoted to `epoch`: nothing is sent until it is a standby again.
  absl::Status HoldPromoted(const absl::Status& refusal, model::Epoch epoch);
  [[nodiscard]] bool paused() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !pauses_.empty(); }
  [[nodiscard]] std::string PauseText() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // By how much the data may be older than hints tell.
  [[nodiscard]] double UnseenLagSeconds() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GoOnAfterGuard();
  void WatchAgain();
  void ApplyApproval();
  absl::Status Approve(const Approval& approval);
  bool BarrierWaits() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetLeftOut(const DirtyBatch& batch);
  void CopyIndexState();

  const model::VolumeName name_;
  const std::string path_;
  const std::string replica_root_;
  const ReplicatorOptions options_;
  const Clock& clock_;

  // The lane's alone.
  std::unique_ptr<VolumeIndex> index_;
  bool session_open_ = false;
  // Barriers up to these were requested before the session was opened, or the run that may open it began: only an
  // opening tells a volume without changes what became of DR.
  uint64_t opened_for_barrier_ = 0;
  uint64_t opens_for_barrier_ = 0;
  bool held_back_ = false;
  bool unwatched_ = false;               // its folder wasn't there, or was another one
  std::map<uint64_t, bool> fine_times_;  // os::HasFineTimes, by filesystem
  std::set<std::string> leftovers_;      // what the newest opening told, without those that were asked for
  int failures_in_a_row_ = 0;
  int refusals_in_a_row_ = 0;                      // DATA_LOSS
  bool removals_first_ = false;                    // DR has had no room since the last capture that succeeded
  std::map<std::string, std::string> unreadable_;  // why, by path; as of the last look at each
  std::string looked_up_to_;                       // of the large files, in key order; "": the next look begins anew
  std::set<std::string> resting_;                  // large files that weren't captured when they were looked at last
  absl::Duration resting_since_;                   // there have been any

  absl::Mutex bases_mutex_;                                         // taken before mutex_
  std::shared_ptr<BaseStore> bases_ ABSL_GUARDED_BY(bases_mutex_);  // nullptr: there are none
  absl::Duration next_bases_try_ ABSL_GUARDED_BY(bases_mutex_) = -absl::InfiniteDuration();
  bool bases_discarded_ ABSL_GUARDED_BY(bases_mutex_) = false;  // since they were open last

  mutable absl::Mutex mutex_;
  DirtySet dirty_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Duration> oldest_in_flight_ ABSL_GUARDED_BY(mutex_);
  absl::Duration next_rescan_ ABSL_GUARDED_BY(mutex_);
  absl::Duration next_large_look_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  absl::Status coverage_ ABSL_GUARDED_BY(mutex_);
  absl::Duration publish_overdue_ ABSL_GUARDED_BY(mutex_);  // while something acknowledged isn't published
  absl::Duration not_before_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  // Since when no capture has ended well though one should have; infinite: the last one did.
  absl::Duration stalled_since_ ABSL_GUARDED_BY(mutex_);
  LargeFileLook largest_look_ ABSL_GUARDED_BY(mutex_);  // of a file that strategy_reason speaks of
  FileLooks looks_ ABSL_GUARDED_BY(mutex_);
  model::Sequence told_sequence_ ABSL_GUARDED_BY(mutex_) = 0;  // whose consistency the status has
  std::set<PauseReason> pauses_ ABSL_GUARDED_BY(mutex_);
  int64_t paused_since_nanoseconds_ ABSL_GUARDED_BY(mutex_) = 0;
  // Since when changes may have come that no hint told of; until everything was looked at. Unix time; 0: none.
  int64_t unseen_since_nanoseconds_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<model::Epoch> promoted_ ABSL_GUARDED_BY(mutex_);  // DR's, since it refused the volume for it
  std::stop_source run_ ABSL_GUARDED_BY(mutex_);                  // the newest
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  const absl::Duration created_;
  uint64_t barrier_requested_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t barrier_passed_ ABSL_GUARDED_BY(mutex_) = 0;
  model::Sequence barrier_sequence_ ABSL_GUARDED_BY(mutex_) = 0;  // acknowledged when barrier_passed_ was
  uint64_t barrier_refused_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, model::DamagedFile> damaged_ ABSL_GUARDED_BY(mutex_);  // by path; told and not looked at
  std::optional<Approval> approval_ ABSL_GUARDED_BY(mutex_);                   // asked for, not recorded yet
  uint64_t approvals_requested_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t approvals_done_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status approval_outcome_ ABSL_GUARDED_BY(mutex_);
  // While a guard holds the volume back: when it is looked at again, and how soon after a hint.
  absl::Duration guard_recheck_ ABSL_GUARDED_BY(mutex_);
  absl::Duration guard_pause_ ABSL_GUARDED_BY(mutex_);
  ReplicatorStatus status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::primary
