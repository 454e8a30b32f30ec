// point_trees.h: kept states of volumes that were made folder trees of their own: for a test failover, or to look for a
// file as it was (docs/formats/points.md).
//
// What is under way is written down before it is done (state_dir/points.db): a start throws away what wasn't finished,
// and finishes what is to be removed. A tree is nobody's replica: nothing keeps it up to date, and removing it touches
// nothing else. Thread-safe; one tree is made or removed at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/commit/identity.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/model/point_tree.h"
#include "core/store/database.h"

namespace understudy::dr {

// How NFS clients come to a tree. Both are asked again when what they were part of was cut short.
struct TreeServing {
  // The tree is in its place.
  std::function<absl::Status(const model::PointTree&)> begin = [](const model::PointTree&) { return absl::OkStatus(); };
  // It is about to go.
  std::function<absl::Status(const model::PointTree&)> end = [](const model::PointTree&) { return absl::OkStatus(); };
};

class PointTrees {
 public:
  // `engine` and `clock` outlive it. What was cut short is finished in the background; what can't be (a filesystem
  // isn't mounted) stays listed.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<PointTrees>> Open(const std::string& state_dir,
                                                                        CommitEngine& engine, const Clock& clock,
                                                                        TreeServing serving = {});
  // What is under way ends, and is finished by the next start.
  ~PointTrees();

  struct Wish {
    model::VolumeName volume;
    model::Sequence sequence = 0;
    std::string path;  // absolute, in the export that holds the replica; empty: beside the replica's folder
    bool writable = false;
  };
  // Returns once the tree is durable in its place. NOT_FOUND: no such replica, or that state isn't kept.
  // INVALID_ARGUMENT: the path can't be used. ALREADY_EXISTS: something stands there. RESOURCE_EXHAUSTED: no room.
  // CANCELLED: what there was of it has gone again.
  [[nodiscard]] absl::StatusOr<model::PointTree> Make(const Wish& wish, const CloneWatcher& watcher = {});

  // Ascending by id.
  [[nodiscard]] absl::StatusOr<std::vector<model::PointTree>> List() const;

  // Folders that no replica may overlap.
  [[nodiscard]] std::vector<std::string> Paths() const;

  // Returns once it is gone. NOT_FOUND: no such tree. FAILED_PRECONDITION: another folder stands in its place.
  [[nodiscard]] absl::StatusOr<model::PointTree> Remove(const std::string& id);

 private:
  struct Row {
    model::PointTree tree;
    std::string export_path;
    Identity folder;  // of the tree's; none yet while it is made
    Identity work_folder;
  };

  PointTrees(CommitEngine& engine, const Clock& clock, TreeServing serving, store::Database database)
      : engine_(engine), clock_(clock), serving_(std::move(serving)), database_(std::move(database)) {}

  void FinishAll(std::stop_token stop) ABSL_LOCKS_EXCLUDED(work_mutex_, mutex_);
  absl::Status CheckPath(const Row& row) const;
  absl::Status CheckPlace(const Row& row, const os::WorkFolder& work) const;
  static absl::StatusOr<os::WorkFolder> OpenWork(const Row& row);
  absl::Status MakeTree(Row& row, const os::WorkFolder& work, const CloneWatcher& watcher)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status FinishMaking(Row& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);
  absl::Status FinishRemoving(const Row& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_);

  absl::StatusOr<std::vector<Row>> Query() const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Write(const Row& row) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Forget(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);

  CommitEngine& engine_;
  const Clock& clock_;
  const TreeServing serving_;
  absl::Mutex work_mutex_;
  mutable absl::Mutex mutex_ ABSL_ACQUIRED_AFTER(work_mutex_);
  mutable store::Database database_ ABSL_GUARDED_BY(mutex_);
  std::stop_source stopping_;
  std::jthread finisher_;
};

}  // namespace understudy::dr
