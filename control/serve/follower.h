// follower.h: keeps the DR cluster's storage objects as one pair's catalog says: a warm standby.
//
// Entries are transformed and applied, each with retries of its own, so that one that can't be applied doesn't hold up
// the others. PersistentVolumes come before claims; deletions the other way round. After a lost connection, and once in
// each resync interval, the whole catalog is read again: what somebody deleted at DR comes back. What was deleted isn't
// looked for again. What belongs to a volume that was turned round is left as it is, deletions included, until it is
// turned back; while that isn't known, nothing is touched. A PersistentVolume that changed has its claim brought again:
// what was made anew lost it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "control/apply/applier.h"
#include "control/apply/snapshot_check.h"
#include "control/apply/transform.h"
#include "core/base/clock.h"
#include "core/base/work_queue.h"
#include "core/model/catalog_port.h"

namespace understudy::control {

struct FollowerOptions {
  std::string pair;  // its name, for the log
  TransformOptions transform;
  int workers = 4;
  // Whether the objects of the volume are DR's own by now, because its replication was turned round: what the catalog
  // has of it is what there was before that, and nothing of it is brought. An error: it isn't known, and the object
  // waits. Thread-safe; empty: of none.
  std::function<absl::StatusOr<bool>(const std::string& volume)> left_alone = {};
  absl::Duration resync_interval = absl::Minutes(10);
  absl::Duration retry_first = absl::Milliseconds(250);
  absl::Duration retry_longest = absl::Minutes(1);
};

struct ApplyProblem {
  model::ObjectKey key;
  std::string message;
};

struct FollowerStatus {
  bool connected = false;  // to the catalog
  std::string connection_error;
  std::string direction_error;  // why it isn't known which volumes were turned round; objects wait for that
  bool caught_up = false;       // everything that the catalog held at the connection has been tried at least once
  size_t pending = 0;           // objects that aren't yet as the catalog says
  uint64_t applied = 0;
  uint64_t deleted = 0;
  uint64_t left_alone = 0;  // deletions of what isn't Understudy's
  uint64_t failures = 0;
  std::vector<ApplyProblem> problems;  // of objects that are being tried again; at most kMaxProblems
};

class Follower {
 public:
  static constexpr size_t kMaxProblems = 100;

  // `catalog`, `applier` and `snapshots` must outlive the follower; an applier may serve several.
  Follower(FollowerOptions options, model::CatalogReader& catalog, ObjectApplier& applier, SnapshotCheck& snapshots,
           Clock& clock = Clock::System());

  // Follows until `stop` is requested. To be called once.
  void Run(std::stop_token stop);

  // Thread-safe.
  [[nodiscard]] FollowerStatus Status() const;

 private:
  // The catalog's newest word on one object.
  struct Wanted {
    model::CatalogEntry entry;
    bool tried = false;
    bool running = false;  // a worker has it
    bool again = false;    // once more when that is done, because what it was done on may be gone
    std::string problem = {};
  };
  // What was brought to the cluster, by the fingerprint of its entry.
  struct Brought {
    size_t fingerprint = 0;
    size_t manifest = 0;                            // fingerprint of what was applied; 0: deleted; or kLeftAlone
    bool stale = false;                             // to be compared with the cluster once more
    uint64_t listing = 0;                           // of the whole catalog, in which it was told last
    std::optional<model::CatalogEntry> claim = {};  // of a claim: the entry, to be brought again
  };

  void FollowCatalog(std::stop_token stop);
  [[nodiscard]] absl::Status WatchOnce(std::stop_token stop);
  void OnEntry(std::optional<model::CatalogEntry> entry);
  void Work(std::stop_token stop);
  [[nodiscard]] absl::StatusOr<bool> IsLeftAlone(const model::CatalogEntry& entry);
  // The fingerprint of the manifest that was applied, 0 when the object was deleted.
  [[nodiscard]] absl::StatusOr<size_t> Bring(const model::CatalogEntry& entry);
  // A snapshot is applied when its archive is at DR.
  [[nodiscard]] absl::Status CheckSnapshot(const model::CatalogEntry& entry);
  [[nodiscard]] absl::Status BringDeletion(const model::CatalogEntry& entry);
  // Of the PersistentVolume of `entry`.
  void BringClaimAgain(const model::CatalogEntry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] bool WasBrought(const model::ObjectKey& key, size_t manifest) const;
  void Finish(const model::CatalogEntry& entry, const absl::StatusOr<size_t>& outcome);
  // It isn't known whether the entry may be brought: it comes again later, and nothing was tried.
  void Postpone(const model::CatalogEntry& entry, const absl::Status& unknown);
  void ForgetPurged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteUntried() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const FollowerOptions options_;
  model::CatalogReader& catalog_;
  ObjectApplier& applier_;
  SnapshotCheck& snapshots_;
  WorkQueue<model::ObjectKey> queue_;

  mutable absl::Mutex mutex_;
  std::map<model::ObjectKey, Wanted> wanted_ ABSL_GUARDED_BY(mutex_);  // what isn't done yet
  std::map<model::ObjectKey, Brought> brought_ ABSL_GUARDED_BY(mutex_);
  bool listed_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t listing_ ABSL_GUARDED_BY(mutex_) = 0;  // counts readings of the whole catalog
  bool cluster_reachable_ ABSL_GUARDED_BY(mutex_) = true;
  FollowerStatus status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::control
