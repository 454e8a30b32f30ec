// store.h: the runs of failover plans, durable: state_dir/failover.db (docs/failover.md, "On disk").
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "control/runs/run.h"
#include "core/base/status.h"
#include "core/daemon/state_dir.h"
#include "core/store/database.h"

namespace understudy::control {

inline constexpr size_t kKeptFailoverRuns = 100;

// How a run ended, or stopped where it is.
struct RunEnd {
  RunState state = RunState::kDone;
  bool over = true;
  std::string error{};
  absl::Time at;
};

// Where an engine writes down what it begins and ends. Thread-safe; what a call told is durable when it returns.
class RunJournal {
 public:
  virtual ~RunJournal() = default;
  // The step begins, or goes on: items that aren't known yet are added as pending ones.
  [[nodiscard]] virtual absl::Status BeginStep(const std::string& run, const std::string& step, absl::Time at,
                                               const std::vector<std::string>& keys) = 0;
  [[nodiscard]] virtual absl::Status WriteItem(const std::string& run, const std::string& step,
                                               const ItemRecord& item) = 0;
  [[nodiscard]] virtual absl::Status EndStep(const std::string& run, const std::string& step, absl::Time at) = 0;
  // Steps that have to be made again: they haven't ended any more, and their items are pending. Attempts, facts and
  // warnings stay; `why` becomes one more warning of each item that wasn't pending. All of that or nothing.
  [[nodiscard]] virtual absl::Status Reopen(const std::string& run, const std::vector<std::string>& steps,
                                            const std::string& why) = 0;
  [[nodiscard]] virtual absl::Status EndRun(const std::string& run, const RunEnd& end) = 0;
};

// Of a dry run: nothing is written down.
class NoJournal : public RunJournal {
 public:
  absl::Status BeginStep(const std::string&, const std::string&, absl::Time, const std::vector<std::string>&) override {
    return absl::OkStatus();
  }
  absl::Status WriteItem(const std::string&, const std::string&, const ItemRecord&) override {
    return absl::OkStatus();
  }
  absl::Status EndStep(const std::string&, const std::string&, absl::Time) override { return absl::OkStatus(); }
  absl::Status Reopen(const std::string&, const std::vector<std::string>&, const std::string&) override {
    return absl::OkStatus();
  }
  absl::Status EndRun(const std::string&, const RunEnd&) override { return absl::OkStatus(); }
};

// Held while a run of one plan is under way on this host; a process that ends, however it does, gives it up.
using PlanLease = daemon::StateDir;

// Thread-safe; several processes may have it open. Errors as of store::Database.
class RunStore : public RunJournal {
 public:
  // Makes the folder with mode 0700 when it is missing.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RunStore>> Open(const std::filesystem::path& state_dir);
  // NOT_FOUND: nothing was ever run here. Makes nothing.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RunStore>> OpenPresent(const std::filesystem::path& state_dir);

  // FAILED_PRECONDITION: a run of the plan is under way.
  [[nodiscard]] absl::StatusOr<PlanLease> Lease(const std::string& plan) const;
  // A folder of the run's own, for what it fetches; made with mode 0700.
  [[nodiscard]] absl::StatusOr<std::filesystem::path> WorkFolder(const std::string& run) const;
  // It and all in it go. Fine when there is none.
  [[nodiscard]] absl::Status RemoveWorkFolder(const std::string& run) const;

  // With the plan's lease held. `steps` in their order. FAILED_PRECONDITION: an earlier run of the plan isn't over;
  // names it; a rehearsal holds up only rehearsals. Forgets the oldest runs that are over, all but kKeptFailoverRuns,
  // with their folders; one whose folder can't be removed stays until the next time.
  [[nodiscard]] absl::Status Begin(const RunSpec& spec, const std::vector<std::string>& steps);
  // With the plan's lease held: this process has the run now.
  [[nodiscard]] absl::Status TakeUp(const std::string& run);
  [[nodiscard]] absl::Status Note(const std::string& run, absl::Time at, const std::string& text);

  absl::Status BeginStep(const std::string& run, const std::string& step, absl::Time at,
                         const std::vector<std::string>& keys) override;
  absl::Status WriteItem(const std::string& run, const std::string& step, const ItemRecord& item) override;
  absl::Status EndStep(const std::string& run, const std::string& step, absl::Time at) override;
  absl::Status Reopen(const std::string& run, const std::vector<std::string>& steps, const std::string& why) override;
  // FAILED_PRECONDITION: it is over already, or there is no such run.
  absl::Status EndRun(const std::string& run, const RunEnd& end) override;

  // NOT_FOUND: there is no such run. An empty `run` is the newest one.
  [[nodiscard]] absl::StatusOr<RunRecord> Read(const std::string& run);
  // The newest first, without steps and notes.
  [[nodiscard]] absl::StatusOr<std::vector<RunRecord>> List();

 private:
  RunStore(std::filesystem::path folder, store::Database database)
      : folder_(std::move(folder)), database_(std::move(database)) {}
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RunStore>> OpenFile(const std::filesystem::path& state_dir);
  [[nodiscard]] absl::Status CheckNoneIsOpen(const std::string& plan, bool rehearsal)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status ForgetOldRuns() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status ReadSteps(RunRecord& run) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status ReadItems(const std::string& run, StepRecord& step) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status ReadNotes(RunRecord& run) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::filesystem::path folder_;
  absl::Mutex mutex_;
  store::Database database_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::control
