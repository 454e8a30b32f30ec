// replica.h: one volume's replica: its folder, its work area, its durable state, and the commit protocol over them.
//
// Thread-safe: calls that touch the folder take turns; State() waits for none of them. A token names the session that
// may write; each opening makes a new one and ends the earlier one's rights.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-dr/commit/fault_points.h"
#include "agent-dr/commit/free_space.h"
#include "agent-dr/commit/inventory.h"
#include "agent-dr/commit/merge_undo.h"
#include "agent-dr/commit/points.h"
#include "agent-dr/commit/probe.h"
#include "agent-dr/commit/replica_folders.h"
#include "agent-dr/commit/replica_view.h"
#include "agent-dr/commit/reverse.h"
#include "agent-dr/commit/undo_spool.h"
#include "agent-dr/commit/volume_store.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/model/volume.h"

namespace understudy::dr {

// Whose right to write a call claims.
struct SessionToken {
  uint64_t number = 0;     // of the session; 0: none
  model::Epoch epoch = 0;  // that its opening was answered with
};

// Of a long call.
struct CloneWatcher {
  std::function<void(size_t, size_t)> step = [](size_t, size_t) {};  // told how many of how many records were run
  std::function<bool()> cancelled = [] { return false; };
};

class Replica {
 public:
  using Place = ReplicaPlace;
  struct Settings {
    PointBounds points;
    const Clock* clock = &Clock::System();  // outlives the replica
  };

  // Makes the replica's folder (0755) if need be and its durable state. A folder that has content already is kept as
  // it is: the primary compares it by Inventory.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Replica>> Create(const model::VolumeSpec& spec, Place place,
                                                                       const Settings& settings, FaultPoints& faults,
                                                                       Probe& probe);
  // One that begins with a folder that was none, as it is: for the live copy at the other side, whose epoch is
  // `spec.epoch`. What the folder holds is its first state, labelled and pinned (state_change.h). NOT_FOUND: no folder.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Replica>> Adopt(const model::VolumeSpec& spec, Place place,
                                                                      const Settings& settings, FaultPoints& faults,
                                                                      Probe& probe);
  // A live copy that was made in the folder `spec.replica_root` here (MadeHere in state_change.h). NOT_FOUND: no
  // folder.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Replica>> RecordLive(const model::VolumeSpec& spec, Place place,
                                                                           const Settings& settings,
                                                                           FaultPoints& faults, Probe& probe);
  // One that was created before: whatever a crash left is finished or discarded. An error of the folder itself is kept
  // and told by Open (its filesystem may not be mounted yet); one of the durable state is returned.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Replica>> Load(Place place, const Settings& settings,
                                                                     FaultPoints& faults, Probe& probe);

  [[nodiscard]] model::ReplicaState State() const { return view_.State(); }
  // ReplicaState::leftovers as the newest Open found them; State() has none. As State(), it waits for nothing.
  [[nodiscard]] std::vector<std::string> LeftoverPaths() const { return view_.LeftoverPaths(); }

  // Why commits can't be brought into the folder, as far as is known; OK when they can. Open tries again. As State(),
  // it waits for nothing.
  [[nodiscard]] absl::Status Usable() const { return view_.Usable(); }

  // As ReplicaSink::Open; finishes a commit that couldn't be published before.
  [[nodiscard]] absl::StatusOr<SessionToken> Open(const model::VolumeSpec& spec);

  // The steps of a promotion and a demotion (state_change.h), durable when they return OK; what is done already is
  // fine. Each gives the state that it leads to. An error other than FAILED_PRECONDITION leaves open whether it
  // happened; ask again.
  //
  // They wait for no inventory and no clone: those end (MakeWay), and whatever else works on the folder in many short
  // turns lets them pass. CANCELLED: `given_up`, which is asked while it waits and right before the state changes; it
  // hasn't changed.
  using GivenUp = std::function<bool()>;
  // Brings everything durable into the folder, for good; ends the session, and with the next epoch the rights of every
  // primary; gives up leftovers and undo records.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> BeginPromotion(bool allow_incomplete,
                                                                   const GivenUp& given_up = nullptr);
  [[nodiscard]] absl::StatusOr<model::ReplicaState> FinishPromotion();
  [[nodiscard]] absl::StatusOr<model::ReplicaState> BeginDemotion(const GivenUp& given_up = nullptr);
  // Makes what clients wrote durable first.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> FinishDemotion();
  // As in state_change.h; an adoption is ended by FinishDemotion.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> LetGo(model::Epoch epoch);
  [[nodiscard]] absl::StatusOr<model::ReplicaState> BeginAdoption(const model::VolumeSpec& spec);
  // The hooks after the newest promotion or demotion have all run.
  [[nodiscard]] absl::Status SetHooksRun();

  // Ends the replica's use for good: everything durable is published and settled, no session begins any more, and its
  // files are closed. Gives the identity of its folder. FAILED_PRECONDITION: it is no standby; UNAVAILABLE: its folder
  // can't be reached. Whatever fails, it may be tried again.
  [[nodiscard]] absl::StatusOr<Identity> Retire();
  // The same of a live copy that was made here, whose folder isn't touched. FAILED_PRECONDITION: it is none.
  [[nodiscard]] absl::Status RetireMadeHere();

  // As in ReplicaSink, for the session `token`. Any error ends the session and drops what it staged.
  [[nodiscard]] absl::Status StageBegin(SessionToken token, model::Slot slot, const std::string& path, uint64_t size,
                                        const std::string& base_path);
  // NOT_FOUND doesn't end the session.
  [[nodiscard]] absl::StatusOr<std::vector<model::SegmentDigest>> StageResume(SessionToken token, model::Slot slot,
                                                                              const std::string& path, uint64_t size,
                                                                              const std::string& base_path);
  [[nodiscard]] absl::Status StageData(SessionToken token, model::Slot slot, uint64_t offset, std::string_view data);
  [[nodiscard]] absl::Status StageHole(SessionToken token, model::Slot slot, uint64_t offset, uint64_t length);
  [[nodiscard]] absl::Status StageDelta(SessionToken token, model::Slot slot, const model::SegmentDelta& delta);
  [[nodiscard]] absl::Status StageEnd(SessionToken token, model::Slot slot);
  [[nodiscard]] absl::Status StageFiles(SessionToken token, const model::StagedBatch& batch);

  // The commit is durable when it returns OK, and has to be published next.
  [[nodiscard]] absl::Status SubmitDurable(SessionToken token, model::Commit commit);
  // Brings the newest durable commit into the folder; nothing to do is fine. An error is kept: no more commits are
  // taken until a later Open has published it. Needs no token: what is durable is published whoever asks.
  [[nodiscard]] absl::Status Publish();

  // The states that Rewind can bring back, those of the newest records first: after a rewind, that isn't the order of
  // time. As State(), it waits for nothing.
  [[nodiscard]] std::vector<Point> Points() const { return view_.Points(); }
  // The state that the newest durable commit leads to.
  [[nodiscard]] Point NewestPoint() const { return view_.NewestPoint(); }
  [[nodiscard]] PointTotals Totals() const { return view_.Totals(); }
  // Takes the folder back to the state after commit `to`, by the undo records on the way there, each a commit of its
  // own with a new sequence; the states left on the way stay points. Ends the session; the primary's next opening has
  // to compare (no sequence that it can know comes back). An error leaves the replica at some state on the way; ask
  // again. NOT_FOUND: that state isn't kept. FAILED_PRECONDITION: the volume is no standby. DATA_LOSS: the folder or
  // what was kept was changed past understudy-dr; that a record on the way, or what it keeps, isn't there is found
  // before anything is changed. ABORTED: it made way for a promotion or a demotion; a promotion of the state that it
  // left wants `allow_incomplete`.
  // `step` is told how many of how many records were run. With `hold` the replica is held from before the first record
  // on (SetHeld), or its primary would bring it up to date again; an error that left it where it was leaves it as it
  // was.
  [[nodiscard]] absl::Status Rewind(
      model::Sequence to, const std::function<void(size_t, size_t)>& step = [](size_t, size_t) {}, bool hold = false);

  // Gives up undo records past the bounds, merges those whose states are more than the bounds keep, and counts what is
  // kept where that wasn't done yet: a bounded number in one call; how many are fewer now. 0: nothing (more) is to be
  // done, or can be now. Commits wait meanwhile.
  [[nodiscard]] absl::StatusOr<size_t> Thin();

  // Makes `tree` in `folder`, an empty folder of ours on the replica's filesystem: the volume as it was after commit
  // `to`. Commits wait while what is there is cloned (by reference where the filesystem can), and not while the clone
  // is taken back. Where much has to be copied, the session ends, and whoever would wait for the copy is refused with
  // UNAVAILABLE. What else is in `folder` afterwards is to be thrown away. NOT_FOUND: that state isn't kept.
  // RESOURCE_EXHAUSTED: no room for copies, with a tenth of the filesystem left. CANCELLED. ABORTED: as of Inventory.
  // Nothing is durable yet.
  [[nodiscard]] absl::Status ClonePoint(model::Sequence to, os::Root folder, const CloneWatcher& watcher);

  // Names a state that is kept, or the newest one; again with the same label: only pins it, or no longer. NOT_FOUND: it
  // isn't kept. ALREADY_EXISTS: another state has that label, or the state has another one.
  [[nodiscard]] absl::Status SetLabel(const PointLabel& label);
  // NOT_FOUND: it has none.
  [[nodiscard]] absl::Status DropLabel(model::Sequence point);

  // While it is held, no session begins, also after a restart: what it was taken back to stays.
  [[nodiscard]] absl::Status SetHeld(bool held);

  struct Entry {
    os::EntryStat stat;
    model::Sequence sequence = 0;  // of the state that was looked at
  };
  // What stands at `path`, in a published state. NOT_FOUND: nothing. INVALID_ARGUMENT: in the work folder.
  [[nodiscard]] absl::StatusOr<Entry> Stat(const std::string& path);

  // What a call of WithPublished works on.
  struct Published {
    const model::ReplicaState& state;
    const os::Root& root;
    const WorkArea& work;
    std::string excluded_name;  // in the root folder: not the volume's; empty: none
    ContentTable contents;
  };
  // Runs `call` over a published state; commits wait meanwhile. UNAVAILABLE: the folder can't be reached.
  [[nodiscard]] absl::Status WithPublished(const std::function<absl::Status(const Published&)>& call);
  // Whether what stands in the replica's place now is the replica's folder. FAILED_PRECONDITION, NOT_FOUND: it isn't.
  [[nodiscard]] absl::Status CheckPlace();

  // `listener` is told of damaged files while the session `token` is the newest one; it must not wait for its peer, as
  // who looks for damage, and the next session, would wait with it. nullptr ends that, and waits for a call under way.
  void Listen(SessionToken token, std::function<void(const model::DamagedFile&)> listener);
  // Whether there was somebody to tell.
  bool TellDamage(const model::DamagedFile& file);

  // As ReplicaSink::Inventory, over one published state. Nobody waits while `visit` is called. ABORTED: it made way for
  // a promotion, a demotion or a reprotection that waits, or the replica changed meanwhile.
  [[nodiscard]] absl::Status Inventory(bool with_digests,
                                       const std::function<absl::Status(model::InventoryEntry)>& visit);

 private:
  Replica(Place place, const Settings& settings, FaultPoints& faults, Probe& probe)
      : place_(std::move(place)), settings_(settings), faults_(faults), probe_(probe) {}

  // A commit that is ready for its commit point.
  struct ReadyCommit {
    CommitRecord record;
    Point point;  // the state that it leads to
    UndoChanges undo;
    ContentChanges contents;
  };

  absl::Status CreateState(const model::VolumeSpec& spec) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Reads the durable state anew, opens the folders, and finishes or discards what is there.
  absl::Status Recover() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status PublishLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  void DiscardSomeRemoved() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status SettleLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status AdoptEpoch(model::Epoch epoch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status CheckSession(SessionToken token) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Whether the work folder lies in the replica's own folder.
  bool HoldsWorkFolder() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status CheckSpaceFor(const model::Commit& commit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Everything before the commit point. `run`: the undo record that the commit runs; nullptr: none.
  absl::StatusOr<ReadyCommit> MakeReady(model::Commit commit, const UndoRecord* run)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::StatusOr<ReadyCommit> PrepareAndSync(model::Commit commit, const UndoRecord* run)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status WriteRecord(ReadyCommit ready) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Runs one staging call of the session, which needs so many bytes and entries; an error ends the session.
  absl::Status Stage(SessionToken token, uint64_t bytes, const std::function<absl::Status(Staging&)>& call,
                     uint64_t entries = 1) ABSL_LOCKS_EXCLUDED(work_mutex_);

  // replica_contents.cc:
  struct InventoryUnderWay {
    bool with_digests = false;
    std::unique_ptr<InventoryWalk> walk{};  // nullptr: not begun
    model::Sequence sequence = 0;           // of the state that it is of
    model::Epoch epoch = 0;
    std::vector<model::InventoryEntry> page{};
    bool ended = false;
  };
  absl::Status FillPage(InventoryUnderWay& inventory) ABSL_LOCKS_EXCLUDED(work_mutex_);
  absl::Status FindOldDigests(const CommitPlan& plan, std::map<std::string, OldEntry>& old)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Whether the folder has an entry after the commit; nullopt: as before.
  absl::StatusOr<std::optional<bool>> HoldsEntriesAfter(const model::Commit& commit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // promotion.cc:
  // The lock, for a change of the state. What holds it for long gives it up as soon as one waits.
  class ABSL_SCOPED_LOCKABLE StateLock {
   public:
    StateLock(Replica& replica, const GivenUp& given_up) ABSL_EXCLUSIVE_LOCK_FUNCTION(replica.work_mutex_);
    ~StateLock() ABSL_UNLOCK_FUNCTION();
    StateLock(const StateLock&) = delete;
    StateLock& operator=(const StateLock&) = delete;
    // To be asked before anything else: the lock is there only when this is OK. CANCELLED: given up by now, or before
    // there was the lock.
    [[nodiscard]] absl::Status Wanted();

   private:
    bool Acquire() ABSL_NO_THREAD_SAFETY_ANALYSIS;  // false: given up, and not locked
    Replica& replica_;
    const GivenUp& given_up_;
    bool has_lock_ = false;
  };
  // ABORTED: a change of the state waits, so what takes long has to end.
  absl::Status MakeWay() const ABSL_LOCKS_EXCLUDED(turn_mutex_);
  // Waits while a change of the state waits: nobody gets ahead of it.
  void LetStateChangesPass() const ABSL_LOCKS_EXCLUDED(turn_mutex_, work_mutex_);
  // Reads the durable state again if it may be ahead of what is known here.
  absl::Status BeSure() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // With everything durable published and settled, and nothing staged or kept of what was.
  absl::Status SettleForGood() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status WriteState(const model::ReplicaState& next, const Point& point,
                          const std::optional<PointLabel>& label = {}) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // adoption.cc:
  absl::Status CreateAdopted(const model::VolumeSpec& spec) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status CreateLive(const model::VolumeSpec& spec) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);

  // rewind.cc:
  // DATA_LOSS: what one of these records keeps isn't there.
  absl::Status CheckKept(const std::vector<model::Sequence>& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Along the records of `path`, to the state `to`.
  absl::Status RunPath(const std::vector<model::Sequence>& path, model::Sequence to,
                       const std::function<void(size_t, size_t)>& step) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status RunUndo(model::Sequence sequence) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Reads the undo records; their kept entries are looked at once the unsettled commit is through.
  absl::Status LoadUndo(const Point& point) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status RecoverUndo() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Which undo records go with a commit.
  [[nodiscard]] std::vector<model::Sequence> BeyondBounds(bool chain_ends) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // What is durable now of what became of the undo records.
  void NoteUndo(const CommitRecord& record, const Point& point, const UndoChanges& undo)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Counts and tells which of `dropped` go before their time; `no_space`: because the next commit's had no room.
  void NoteGivenUp(const std::vector<model::Sequence>& dropped, bool no_space)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Gives up what is past the bounds; how many records that were.
  absl::StatusOr<size_t> DropBeyondBounds() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Takes these, the oldest undo records, away. None of them is needed by a replay.
  absl::Status DropUndo(const std::vector<model::Sequence>& oldest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Counts what this commit keeps, unless somebody waits for that, or it can't be read: then Thin does, or a start.
  void MeasureKept(model::Sequence sequence) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Gives up the `most` oldest undo records that nobody needs now; how many there were. The newest commit's is given up
  // only after all others, and once the commit is published: it is settled for that.
  absl::StatusOr<size_t> DropOldestUndo(size_t most) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Gives up the older half of them, after a call found no space.
  absl::StatusOr<size_t> DropOlderHalf() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // clone_point.cc: the records that lead to the state `to`.
  absl::StatusOr<UndoSpool> CloneWithUndo(model::Sequence to, const os::Root& folder, const CloneWatcher& watcher)
      ABSL_LOCKS_EXCLUDED(work_mutex_);
  // How many bytes are to be copied.
  absl::StatusOr<uint64_t> CheckRoomForCopies(const std::vector<model::Sequence>& path, const os::GoOn& go_on)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // UNAVAILABLE: a copy is being made, for which nobody should wait who has other volumes to see to.
  absl::Status CheckNoCopy() const;

  // thin.cc:
  absl::Status CheckStandby() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status SetHeldLocked(bool held) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status MergeRun(const std::vector<model::Sequence>& run, size_t& merged, size_t& tried)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status ApplyMerge(MergedUndo merged) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status CopyKept(const std::vector<KeptCopy>& copies) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  void DropCopied(const std::vector<KeptCopy>& copies) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // The records whose kept entries can't be moved, and those behind them, go.
  absl::Status GiveUpUnmoved() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Kept entries come to the record that they belong to since a merge; what is there already is passed over.
  absl::Status FinishMoves() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status MergeEffect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_) {
    return faults_.Reach(Step::kMerge, merge_effects_++);
  }

  // As CheckFreeSpace, at the expense of undo records.
  absl::Status MakeRoom(uint64_t bytes, uint64_t entries, Reserve reserve = Reserve::kKept)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // No session stages any more: what is worth it becomes a leftover, the rest goes, but for
  // what commit `kept` places (0: keeps nothing). Not to be called while a commit record may still need it.
  absl::Status EndStaging(model::Sequence kept) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  // Ends the session and its staging as far as that is safe.
  absl::Status Fail(absl::Status error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);

  const Place place_;
  const Settings settings_;
  FaultPoints& faults_;
  Probe& probe_;
  ReplicaView view_;

  mutable absl::Mutex turn_mutex_;
  int state_changes_waiting_ ABSL_GUARDED_BY(turn_mutex_) = 0;
  std::atomic<bool> copying_{false};  // by who has work_mutex_
  absl::Mutex work_mutex_;
  std::optional<VolumeStore> store_ ABSL_GUARDED_BY(work_mutex_);
  std::unique_ptr<ReplicaFolders> folders_ ABSL_GUARDED_BY(work_mutex_);  // nullptr: not reachable
  Identity root_folder_ ABSL_GUARDED_BY(work_mutex_);
  std::optional<CommitRecord> unpublished_ ABSL_GUARDED_BY(work_mutex_);  // durable, and not wholly in the folder
  // Staged content of the newest published commit's patches: until it is settled a replay may need it.
  std::vector<std::string> applied_patches_ ABSL_GUARDED_BY(work_mutex_);
  std::vector<UndoAbout> measured_ ABSL_GUARDED_BY(work_mutex_);  // not yet written
  // What the newest published commit ran: until it is settled a replay may need what that kept.
  model::Sequence ran_ ABSL_GUARDED_BY(work_mutex_) = 0;
  // The state on the way to which a rewind ended.
  std::optional<model::Sequence> rewinding_to_ ABSL_GUARDED_BY(work_mutex_);
  // Undo records from this one on aren't given up, whatever is short of space.
  model::Sequence needed_from_ ABSL_GUARDED_BY(work_mutex_) = UINT64_MAX;
  // Records that the next older one can't be merged with, as far as was tried.
  std::set<model::Sequence> stay_apart_ ABSL_GUARDED_BY(work_mutex_);
  std::optional<bool> shares_blocks_ ABSL_GUARDED_BY(work_mutex_);  // of the filesystem; nullopt: not tried yet
  size_t merge_effects_ ABSL_GUARDED_BY(work_mutex_) = 0;
  absl::Time told_given_up_ ABSL_GUARDED_BY(work_mutex_) = absl::InfinitePast();
  bool leave_no_undo_ ABSL_GUARDED_BY(work_mutex_) = false;  // there is no space for what the next commit displaces
  absl::Status recovered_ ABSL_GUARDED_BY(work_mutex_);      // of the newest Recover
  bool must_recover_ ABSL_GUARDED_BY(work_mutex_) = false;   // the durable state may be ahead of what is known here
  bool retired_ ABSL_GUARDED_BY(work_mutex_) = false;
  uint64_t session_ ABSL_GUARDED_BY(work_mutex_) = 0;  // SessionToken::number
  uint64_t last_session_ ABSL_GUARDED_BY(work_mutex_) = 0;

  absl::Mutex listener_mutex_;                               // held while the listener is called
  uint64_t listening_ ABSL_GUARDED_BY(listener_mutex_) = 0;  // SessionToken::number; 0: nobody
  std::function<void(const model::DamagedFile&)> listener_ ABSL_GUARDED_BY(listener_mutex_);
};

}  // namespace understudy::dr
