// trash.h: deleted volumes whose replicas are kept for a while (docs/formats/trash.md).
//
// Every move is written down before it is made (state_dir/trash.db), and each step can be repeated: what a crash cuts
// short is finished by the next start. Thread-safe; no lock is held while files are removed or counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent-dr/commit/fault_points.h"
#include "agent-dr/commit/identity.h"
#include "agent-dr/commit/probe.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/model/trash.h"
#include "core/store/database.h"

namespace understudy::dr {

struct TrashOptions {
  std::string state_dir;
  std::vector<std::string> exports;  // nothing outside them is touched
  absl::Duration retain = absl::Hours(7 * 24);
  const Clock* clock = &Clock::System();
  FaultPoints* faults = &FaultPoints::None();
  // Called when the intent to move a volume is durable, before its folder is moved; may be nullptr.
  std::function<void(const model::VolumeName& volume)> before_move = nullptr;
};

// A replica on its way into the trash or out of it.
struct TrashedReplica {
  model::TrashEntry entry;
  std::string export_path;
  Identity folder;  // of the replica's folder: nothing else is ever moved
};

class Trash {
 public:
  // `probe` outlives it. Creates what is missing.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Trash>> Open(TrashOptions options, Probe& probe);

  // One call at a time of Move, Restore and FinishPending, while nobody uses the replica and nobody makes one.
  //
  // Takes the replica's folder and durable state away; `entry` needs id, volume, root and reason. UNAVAILABLE: its
  // folder isn't in its place. Of any error, Find tells whether the intent is durable.
  [[nodiscard]] absl::Status Move(const TrashedReplica& replica);
  // Brings both back. NOT_FOUND; FAILED_PRECONDITION: it isn't (any more) what can be restored, or something stands in
  // its place; UNAVAILABLE: its data isn't in the work folder. Nothing was changed then.
  [[nodiscard]] absl::Status Restore(const std::string& id);
  // Finishes what was cut short and concerns a volume of this name or with a folder that overlaps `root`.
  [[nodiscard]] absl::Status FinishPending(const model::VolumeName& volume, const std::string& root);
  // Finishes all that was cut short; the ones that can't be finished now, with the reason.
  struct Unfinished {
    model::VolumeName volume;
    absl::Status reason;
  };
  [[nodiscard]] absl::StatusOr<std::vector<Unfinished>> FinishAllPending();

  // NOT_FOUND: no such entry.
  [[nodiscard]] absl::StatusOr<TrashedReplica> Find(const std::string& id) const;
  // Ascending by id, after `after_id`, at most `limit`.
  [[nodiscard]] absl::StatusOr<std::vector<model::TrashEntry>> List(const std::string& after_id, size_t limit) const;
  struct Totals {
    size_t volumes = 0;
    uint64_t size_bytes = 0;  // of those that are counted
  };
  [[nodiscard]] absl::StatusOr<Totals> Sum() const;

  // Makes it certain that the entry will be deleted, which Work does. NOT_FOUND: no such entry. FAILED_PRECONDITION: it
  // is on its way in or out.
  [[nodiscard]] absl::Status Purge(const std::string& id);

  // One round of what is done in the background: writes down how long everything was kept, marks what has expired,
  // deletes what is to be purged, counts what isn't counted yet. One thread at a time; logs what it did and what
  // failed.
  void Work(std::stop_token stop);
  // Returns after `duration`, or earlier when there is something to do or `stop` is requested.
  void WaitForWork(std::stop_token stop, absl::Duration duration);

 private:
  Trash(TrashOptions options, Probe& probe, store::Database database)
      : options_(std::move(options)),
        probe_(probe),
        database_(std::move(database)),
        aged_at_(options_.clock->Monotonic()) {}

  absl::StatusOr<std::vector<TrashedReplica>> Query(const std::string& condition, const std::string& argument,
                                                    size_t limit) const ABSL_LOCKS_EXCLUDED(mutex_);
  // How long everything has been kept on top of what trash.db says.
  absl::Duration SinceAged() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Age() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status MarkExpired() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Insert(const TrashedReplica& replica) ABSL_LOCKS_EXCLUDED(mutex_);
  // FAILED_PRECONDITION: it isn't in state `from`.
  absl::Status SetState(const std::string& id, model::TrashState from, model::TrashState to)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Delete(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status SetSize(const std::string& id, uint64_t size_bytes, uint64_t entry_count) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Status Finish(const TrashedReplica& replica);
  absl::Status FinishMove(const TrashedReplica& replica);
  absl::Status FinishRestore(const TrashedReplica& replica);
  absl::Status MoveData(const TrashedReplica& replica) const;
  absl::Status RestoreData(const TrashedReplica& replica) const;
  absl::Status RenameState(const std::string& from, const std::string& to) const;
  absl::Status RemoveData(const TrashedReplica& replica, std::stop_token stop);
  absl::Status PurgeOne(const TrashedReplica& replica, std::stop_token stop);
  // Calls `work` for every entry of which `condition` holds, by and by.
  absl::Status ForEach(const std::string& condition, std::stop_token stop,
                       const std::function<void(const TrashedReplica&)>& work);
  absl::Status Measure(const TrashedReplica& replica, std::stop_token stop);
  absl::Status CheckExport(const TrashedReplica& replica) const;
  void Say(const std::string& id, const std::string& what, const absl::Status& status);

  const TrashOptions options_;
  Probe& probe_;
  std::map<std::string, std::string> said_;  // Work's alone: failures that the log has already, by id

  mutable absl::Mutex mutex_;
  mutable store::Database database_ ABSL_GUARDED_BY(mutex_);
  absl::Duration aged_at_ ABSL_GUARDED_BY(mutex_);  // by the monotonic clock: until then trash.db counts
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace understudy::dr
