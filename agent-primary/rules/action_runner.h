// action_runner.h: carries out what the rules decide: data first, then metadata; what is deleted
// leaves the catalog first, then its data goes to DR's trash.
//
// Actions are kept by object: a newer event of an object takes the place of an older one that hasn't begun, a deletion
// ends the one under way, and no object has two at once. What fails is tried again with growing pauses for as long as
// the object is there; one object's trouble doesn't hold up another's. A claim waits for its PersistentVolume.
#pragma once

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
#include "agent-primary/rules/rules.h"
#include "agent-primary/rules/volume_actions.h"
#include "core/base/clock.h"
#include "core/base/work_queue.h"
#include "core/model/catalog_port.h"

namespace understudy::primary {

struct ActionRunnerOptions {
  size_t max_objects = 100'000;  // with something left to do; OnEvent blocks when there are as many
  int workers = 32;              // a worker waits with its volume's first replication, which may take hours
  absl::Duration retry_first = absl::Milliseconds(250);
  absl::Duration retry_longest = absl::Minutes(1);
  ActionObserver* observer = nullptr;  // outlives the runner; may be null
};

struct ObjectProblem {
  model::ObjectKey key;
  std::string message;
};

struct ActionRunnerStatus {
  size_t pending = 0;  // objects with something left to do, waiting claims included
  size_t waiting = 0;  // claims whose PersistentVolume isn't across
  uint64_t put = 0;
  uint64_t deleted = 0;
  uint64_t failures = 0;
  bool reconciled = false;              // what was deleted while the agent was down has been found and deleted at DR
  std::vector<ObjectProblem> problems;  // of objects that are being tried again or held; at most kMaxProblems
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
  // deleted there, if they belong to this pair: a PersistentVolume by its place, a claim by its PersistentVolume.
  void OnSynced(model::ObjectKind kind, const std::set<model::ObjectKey>& keys) override;

  // Thread-safe.
  [[nodiscard]] ActionRunnerStatus Status() const;

 private:
  // What is left to do for one object: the removal of what was there first, then the newest state.
  struct Work {
    std::optional<Action> removal;
    std::optional<Action> newest;
    std::shared_ptr<std::stop_source> running;  // set while a worker has it
    std::string problem;
    [[nodiscard]] bool Empty() const { return !removal && !newest; }
  };
  // A PersistentVolume whose outcome is known.
  struct Volume {
    NfsSource source;
    std::optional<VolumePlace> place;  // nullopt: not this pair's
  };
  using Task = std::optional<model::ObjectKey>;  // nullopt: the reconciliation

  // Tells the observer, if there is one and an event led to it. Without the mutex.
  void Tell(const std::string& event_id, ActionResult result, std::string_view reason) const;
  void Submit(Action action);
  // Adds to `replaced` the events whose place it takes.
  void Enter(Action action, std::vector<std::string>& replaced) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Enqueue(const model::ObjectKey& key, const Work& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Hold(const Action& action);
  void WorkOn(std::stop_token stop, int worst_rank);
  void WorkOnObject(const model::ObjectKey& key, std::stop_token stop);
  void Finish(const model::ObjectKey& key, const Action& action, const absl::Status& status, bool stopped);
  // Whether a newer event of the object takes the place of the action's.
  [[nodiscard]] bool Settle(const model::ObjectKey& key, const Action& action, const absl::Status& status, bool stopped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status Execute(const Action& action, std::stop_token stop);
  [[nodiscard]] absl::Status SyncVolume(const Action& action, std::stop_token stop);
  [[nodiscard]] absl::Status SyncClaim(const Action& action, std::stop_token stop);
  [[nodiscard]] absl::Status Remove(const Action& action);
  [[nodiscard]] absl::Status RemoveEntry(const Action& action);
  [[nodiscard]] absl::Status DiscardData(const Action& action);
  [[nodiscard]] absl::Status Put(const Action& action, const NfsSource& source, const VolumePlace& place);
  void SetVolume(const std::string& name, Volume volume);
  void WorkOnReconciliation();
  [[nodiscard]] absl::Status Reconcile();
  [[nodiscard]] absl::Status DeleteIfGone(const model::CatalogEntry& entry);

  VolumeActions& volumes_;
  model::CatalogWriter& catalog_;
  const ActionRunnerOptions options_;
  WorkQueue<Task> queue_;

  mutable absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<model::ObjectKey, Work> work_ ABSL_GUARDED_BY(mutex_);
  std::map<model::ObjectKey, std::string> held_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Volume> known_volumes_ ABSL_GUARDED_BY(mutex_);
  std::map<model::ObjectKey, std::string> announced_ ABSL_GUARDED_BY(mutex_);          // uid that the log said is at DR
  std::map<std::string, std::set<model::ObjectKey>> waiting_ ABSL_GUARDED_BY(mutex_);  // claims by PersistentVolume
  std::map<model::ObjectKind, std::set<model::ObjectKey>> live_ ABSL_GUARDED_BY(mutex_);
  std::set<model::ObjectKind> synced_ ABSL_GUARDED_BY(mutex_);
  ActionRunnerStatus counters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::primary
