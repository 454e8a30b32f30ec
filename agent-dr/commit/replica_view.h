// replica_view.h: what is known of one replica, for those who ask while its folder is worked on.
//
// Thread-safe; no call waits for the disk. The thread that commits is the only one that sets anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-dr/commit/points.h"
#include "core/base/status.h"
#include "core/model/volume.h"

namespace understudy::dr {

class ReplicaView {
 public:
  [[nodiscard]] model::ReplicaState State() const ABSL_LOCKS_EXCLUDED(mutex_);
  void SetState(const model::ReplicaState& state) ABSL_LOCKS_EXCLUDED(mutex_);

  // Why commits can't be brought into the folder; OK when they can.
  [[nodiscard]] absl::Status Usable() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Gives it back.
  absl::Status SetUsable(absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] std::vector<std::string> LeftoverPaths() const ABSL_LOCKS_EXCLUDED(mutex_);
  void SetLeftoverPaths(std::vector<std::string> paths) ABSL_LOCKS_EXCLUDED(mutex_);

  // The state that the newest durable commit leads to.
  [[nodiscard]] Point NewestPoint() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The undo records, ascending by sequence, with the labels of the states that they lead to.
  [[nodiscard]] std::vector<UndoAbout> Undo() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The states that they lead to, in reverse order of the records.
  [[nodiscard]] std::vector<Point> Points() const ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] PointTotals Totals() const ABSL_LOCKS_EXCLUDED(mutex_);

  void SetPoints(const Point& newest, std::vector<UndoAbout> undo) ABSL_LOCKS_EXCLUDED(mutex_);
  // A commit is durable that leads to `point`: the undo records `gone` went with it, and it left the record `left`.
  void AddCommit(const Point& point, const std::vector<model::Sequence>& gone, const std::optional<UndoAbout>& left)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // So many bytes are kept for the undo record of this commit. The record as it is now; nullopt: there is none, or it
  // was measured before.
  std::optional<UndoAbout> Measured(model::Sequence sequence, uint64_t kept_bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  // The `count` oldest undo records are gone.
  void DropOldest(size_t count) ABSL_LOCKS_EXCLUDED(mutex_);
  // `merged` is there in place of the records `replaces`.
  void Merge(const std::vector<model::Sequence>& replaces, const UndoAbout& merged) ABSL_LOCKS_EXCLUDED(mutex_);

  void SetLabels(std::vector<PointLabel> labels) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::vector<PointLabel> Labels() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  model::ReplicaState state_ ABSL_GUARDED_BY(mutex_);
  absl::Status usable_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> leftovers_ ABSL_GUARDED_BY(mutex_);
  std::vector<UndoAbout> undo_ ABSL_GUARDED_BY(mutex_);
  Point point_ ABSL_GUARDED_BY(mutex_);
  std::vector<PointLabel> labels_ ABSL_GUARDED_BY(mutex_);

  void Label(Point& point) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of the states behind the newest one.
  [[nodiscard]] std::optional<model::WholeState> NewestWhole() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
};

}  // namespace understudy::dr
