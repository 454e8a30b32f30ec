// action_runner.h: carries out what the rules decide: data first, then metadata; what is deleted
// leaves the catalog first, then its data goes to DR's trash. By subject: which action of an object is next
// (action_schedule.cc), bringing across (action_sync.cc), taking away (action_removal.cc), comparing DR's catalog with
// the cluster (action_reconciler.cc).
//
// Actions are kept by object: a newer event of an object takes the place of an older one that hasn't begun, a deletion
// ends the one under way, and no object has two at once. Deletions pass the guard first (object_keeper.h). What fails
// is tried again with growing pauses for as long as the object is there; what DR holds back because its copy is the
// live one (model::CatalogWriter), now and then. One object's trouble doesn't hold up another's. A claim waits for the
// PersistentVolume that is bound to it, a snapshot for its VolumeSnapshotContent.
#pragma once

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
#include "agent-primary/rules/action_observer.h"
#include "agent-primary/rules/event_sink.h"
#include "agent-primary/rules/object_keeper.h"
#include "agent-primary/rules/rules.h"
#include "agent-primary/rules/volume_actions.h"
#include "core/base/clock.h"
#include "core/base/work_queue.h"
#include "core/model/catalog_port.h"

namespace understudy::primary {

struct ActionRunnerOptions {
  size_t max_objects = 100'000;  // with something left to do; OnEvent blocks when there are as many
  int workers = 32;  // a worker waits a little with its volume (VolumeActions::SyncToBarrier), then it goes on
  absl::Duration retry_first = absl::Milliseconds(250);
  absl::Duration retry_longest = absl::Minutes(1);
  absl::Duration held_retry = absl::Minutes(1);  // of what DR holds back because its copy is the live one
  // How often DR's catalog is compared with the newest lists when nothing else leads to it.
  absl::Duration reconcile_interval = absl::Minutes(10);
  // The object as it is in the cluster now, JSON. NOT_FOUND: the API server says that none has that name. Called by a
  // worker; bounded in time. Empty: no cluster is connected.
  std::function<absl::StatusOr<std::string>(const model::ObjectKey&)> lookup = {};
  ObjectKeeper* keeper = nullptr;      // must outlive the runner; nullptr: no deletion is held back
  ActionObserver* observer = nullptr;  // must outlive the runner; may be null
};

struct ObjectProblem {
  model::ObjectKey key;
  std::string message;
  bool held = false;  // no failure: DR keeps the object as it is because its copy is the live one
};

struct ActionRunnerStatus {
  size_t pending = 0;  // objects with something left to do, waiting claims included
  size_t waiting = 0;  // claims and snapshots whose data isn't across
  uint64_t put = 0;
  uint64_t deleted = 0;
  uint64_t failures = 0;
  bool reconciled = false;              // what was deleted while the agent was down has been found
  std::vector<ObjectProblem> problems;  // of objects that are tried again; at most kMaxProblems
  std::vector<std::string> doubts;      // why nothing is concluded from the newest list of a kind
};

class ActionRunner : public EventSink {
 public:
  static constexpr size_t kMaxProblems = 100;

  // `volumes` and `catalog` must outlive the runner.
  ActionRunner(VolumeActions& volumes, model::CatalogWriter& catalog, ActionRunnerOptions options = {},
               Clock& clock = Clock::System());
  ~ActionRunner() override;

  // Works until `stop` is requested. To be called once.
  void Run(std::stop_token stop);

  void OnEvent(const model::ObjectEvent& event) override;
  // When both PersistentVolumes and claims are synced: entries of DR's catalog that are gone from the cluster are
  // deleted there, if they belong to this pair (what has data by its place, any other by what has its data), the guard
  // lets all of them pass, and each of them isn't there when it is looked up by name, either: else nothing is concluded
  // from that list. Those of snapshots and their contents when both of these are synced, too. What the catalog lost is
  // put again.
  void OnSynced(model::ObjectKind kind, const std::set<model::ObjectKey>& keys) override;

  // Thread-safe.
  [[nodiscard]] ActionRunnerStatus Status() const;
  // As ObjectKeeper::Approve; what was held back is under way when it returns. Thread-safe.
  [[nodiscard]] absl::Status ApproveGuard(const std::string& guard_kind, uint64_t gone);
  // Whether a new list of `kind` is wanted soon, because the newest lacks what is there. Thread-safe.
  [[nodiscard]] bool Doubts(model::ObjectKind kind) const;

 private:
  // Deletions come first and have a worker of their own: they never wait for data.
  static constexpr int kRemovalRank = 0;
  static constexpr int kVolumeRank = 1;
  static constexpr int kClaimRank = 2;
  // What the observer is told.
  static constexpr char kReplaced[] = "a newer event of the object took its place";
  static constexpr char kHeldBack[] = "a guard holds it back: `drctl guard list` says why";

  // What is left to do for one object: the removal of what was there first, then the newest state.
  struct Work {
    std::optional<Action> removal;
    std::optional<Action> newest;
    std::shared_ptr<std::stop_source> running;  // set while a worker has it
    bool removing = false;                      // and what it has is a removal
    std::string problem;
    bool held = false;  // with `problem`: as ObjectProblem
    [[nodiscard]] bool Empty() const { return !removal && !newest; }
  };
  // What has data, when its outcome is known.
  struct Volume {
    NfsSource source;
    std::optional<VolumePlace> place;  // nullopt: not this pair's
    std::string owner_uid = {};        // as Action::owner_uid
  };
  // What a volume's name stands for.
  struct Holder {
    std::string uid;
    std::string resource;  // JSON of the object
    NfsSource source;
    std::string claim_uid = {};  // of the claim with which its data goes, if it does
  };
  // A list that lacks what is there.
  struct Doubt {
    std::string reason;
    uint64_t list = 0;   // that was doubted
    bool again = false;  // an earlier one, too: it isn't only that the list is older than the object
  };
  using Task = std::optional<model::ObjectKey>;  // nullopt: the reconciliation

  [[nodiscard]] static int RankOf(const Action& action);
  // Tells the observer, if there is one and an event led to it. Without the mutex.
  void Tell(const std::string& event_id, ActionResult result, std::string_view reason) const;
  void Submit(Action action);
  // Adds to `replaced` the events whose place it takes.
  void Enter(Action action, std::vector<std::string>& replaced) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EnterRemoval(Action action, std::vector<std::string>& replaced) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `replaced` are events; `by` is the one that takes their place.
  void TellReplaced(const std::vector<std::string>& replaced, const std::string& by) const;
  void Enqueue(const model::ObjectKey& key, const Work& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WorkOn(std::stop_token stop, int worst_rank);
  void WorkOnObject(const model::ObjectKey& key, std::stop_token stop);
  void Finish(const model::ObjectKey& key, const Action& action, const absl::StatusOr<ActionResult>& result,
              bool stopped);
  // Whether a newer event of the object takes the place of the action's.
  [[nodiscard]] bool Settle(const model::ObjectKey& key, const Action& action, const absl::Status& status, bool stopped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What became of it. Notes in `action` why, and what mustn't be asked again when it is tried again.
  [[nodiscard]] absl::StatusOr<ActionResult> Execute(Action& action, std::stop_token stop);
  [[nodiscard]] absl::Status SyncVolume(Action& action, std::stop_token stop);
  [[nodiscard]] absl::Status BringAcross(Action& action, const VolumePlace& place, std::stop_token stop);
  [[nodiscard]] absl::Status SyncClaim(Action& action, std::stop_token stop);
  [[nodiscard]] absl::Status PauseVolume(const Action& action);
  void PauseVolumeOfClaim(const Action& deletion);
  // What the name stood for, or does.
  [[nodiscard]] std::vector<Holder> HoldersOf(const model::ObjectKey& key) const;
  // The removal of an earlier object of the name whose deletion nobody carried out, when it stands in the way of what
  // `action` brings: its data is elsewhere than in `place`; nullopt: anywhere on this pair.
  [[nodiscard]] std::optional<Action> PredecessorOf(const Action& action,
                                                    const std::optional<VolumePlace>& place) const;
  // The same of a claim or a snapshot whose data isn't this pair's any more.
  [[nodiscard]] std::optional<Action> EarlierClaimOf(const Action& action) const;
  // Has `removal` carried out before `action`, of the same key, which the caller works on. Never OK.
  [[nodiscard]] absl::Status RemoveFirst(Action removal, const Action& action);
  [[nodiscard]] absl::StatusOr<ActionResult> Remove(Action& action);
  // kDone: it may happen. Else it isn't to happen, or not now (then the keeper remembers it); the action's reason says
  // why.
  [[nodiscard]] absl::StatusOr<ActionResult> AdmitRemoval(Action& action);
  void BeginWait(const model::ObjectKey& key, const model::ObjectKey& data) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndWait(const model::ObjectKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of the claim of `action`, which waits: brings the volume's newer state, should no event that tells it lead
  // anywhere.
  void LookForVolumeOf(const Action& action);
  [[nodiscard]] bool IsOthersVolume(const model::ObjectKey& key) const;
  [[nodiscard]] absl::Status RemoveEntry(Action& action);
  [[nodiscard]] absl::Status DiscardData(const Action& action);
  // FAILED_PRECONDITION: another cluster than the one that is followed would put its object in the place of what DR
  // has.
  [[nodiscard]] absl::Status CheckReplacement(const Action& action);
  [[nodiscard]] absl::Status Put(Action& action, const NfsSource& source, const VolumePlace& place);
  void SetVolume(const model::ObjectKey& data, Volume volume);
  void WorkOnReconciliation();
  [[nodiscard]] absl::Status Reconcile();
  // This pair's part of DR's catalog, by kind; the keeper knows it then.
  using OwnEntries = std::map<model::ObjectKind, std::vector<model::CatalogEntry>>;
  [[nodiscard]] absl::StatusOr<OwnEntries> ListOwnEntries();
  [[nodiscard]] absl::Status ListOwn(model::ObjectKind with_data, model::ObjectKind without, OwnEntries& own);
  [[nodiscard]] absl::Status DeleteMissing(model::ObjectKind kind, const std::vector<model::CatalogEntry>& entries);
  // Neither in the newest list, nor being removed.
  struct Missing {
    std::vector<ObjectDeletion> at_dr;      // in the catalog, or with a replica on its way
    std::vector<ObjectDeletion> elsewhere;  // DR never had it
  };
  [[nodiscard]] Missing MissingOf(model::ObjectKind kind, const std::vector<model::CatalogEntry>& entries)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] bool MayDelete(const ObjectDeletion& deletion) const;
  // ABORTED: one of them is there after all, and the newest list of the kind is doubted.
  [[nodiscard]] absl::Status ConfirmGone(model::ObjectKind kind, const std::vector<ObjectDeletion>& missing);
  [[nodiscard]] absl::Status LookForEach(const std::vector<ObjectDeletion>& missing) const;
  [[nodiscard]] absl::Status PutLostAgain(model::ObjectKind kind, const std::vector<model::CatalogEntry>& entries);
  [[nodiscard]] std::vector<model::ObjectKey> LostOf(model::ObjectKind kind,
                                                     const std::vector<model::CatalogEntry>& entries) const;
  // Takes what was concluded of `kind`, by the events that told it.
  using Told = std::map<model::ObjectKey, std::string>;
  [[nodiscard]] Told TakeConcluded(model::ObjectKind kind);
  [[nodiscard]] bool ListsAreComplete() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] bool IsListed(model::ObjectKind kind) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] bool BeingRemoved(const model::ObjectKey& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginRemoval(const ObjectDeletion& deletion);

  VolumeActions& volumes_;
  model::CatalogWriter& catalog_;
  const ActionRunnerOptions options_;
  Clock& clock_;
  WorkQueue<Task> queue_;

  mutable absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<model::ObjectKey, Work> work_ ABSL_GUARDED_BY(mutex_);
  std::map<model::ObjectKey, Volume> known_volumes_ ABSL_GUARDED_BY(mutex_);
  std::map<model::ObjectKey, Holder> registered_ ABSL_GUARDED_BY(mutex_);      // by this agent since it started
  std::map<model::ObjectKey, Holder> in_catalog_ ABSL_GUARDED_BY(mutex_);      // of this pair, when it was last listed
  std::map<model::ObjectKey, std::string> announced_ ABSL_GUARDED_BY(mutex_);  // uid that the log said is at DR
  // Claims and snapshots by what has their data.
  std::map<model::ObjectKey, std::set<model::ObjectKey>> waiting_ ABSL_GUARDED_BY(mutex_);
  std::map<model::ObjectKey, model::ObjectKey> waits_for_ ABSL_GUARDED_BY(mutex_);  // the same, the other way round
  std::map<model::ObjectKind, std::set<model::ObjectKey>> live_ ABSL_GUARDED_BY(mutex_);
  std::set<model::ObjectKind> synced_ ABSL_GUARDED_BY(mutex_);
  std::map<model::ObjectKind, uint64_t> lists_ ABSL_GUARDED_BY(mutex_);  // how many there were
  std::map<model::ObjectKind, Doubt> doubts_ ABSL_GUARDED_BY(mutex_);
  std::map<model::ObjectKey, ObjectDeletion> concluded_ ABSL_GUARDED_BY(mutex_);  // from lists, to be judged
  ActionRunnerStatus counters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::primary
