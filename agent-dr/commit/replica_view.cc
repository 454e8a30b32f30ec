#include "agent-dr/commit/replica_view.h"

#include <algorithm>
#include <utility>

namespace understudy::dr {

model::ReplicaState ReplicaView::State() const {
  absl::MutexLock lock(&mutex_);
  model::ReplicaState state = state_;
  state.captured_at_nanoseconds = point_.captured_at_nanoseconds;
  state.consistency = point_.consistency;
  state.midst_of_capture = state.complete && !point_.completes_capture;
  state.newest_whole = state.midst_of_capture ? NewestWhole() : std::nullopt;
  return state;
}

std::optional<model::WholeState> ReplicaView::NewestWhole() const {
  const Point* newest = nullptr;
  for (const UndoAbout& about : undo_) {
    const Point& point = about.point;
    if (!point.completes_capture) continue;
    if (newest == nullptr || point.sequence > newest->sequence) newest = &point;
  }
  if (newest == nullptr) return std::nullopt;
  return model::WholeState{newest->sequence, newest->captured_at_nanoseconds, newest->consistency};
}

void ReplicaView::SetState(const model::ReplicaState& state) {
  absl::MutexLock lock(&mutex_);
  state_ = state;
}

absl::Status ReplicaView::Usable() const {
  absl::MutexLock lock(&mutex_);
  return usable_;
}

absl::Status ReplicaView::SetUsable(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  usable_ = std::move(status);
  return usable_;
}

std::vector<std::string> ReplicaView::LeftoverPaths() const {
  absl::MutexLock lock(&mutex_);
  return leftovers_;
}

void ReplicaView::SetLeftoverPaths(std::vector<std::string> paths) {
  absl::MutexLock lock(&mutex_);
  leftovers_ = std::move(paths);
}

void ReplicaView::Label(Point& point) const {
  const auto found = std::lower_bound(labels_.begin(), labels_.end(), point.sequence,
                                      [](const PointLabel& label, model::Sequence of) { return label.point < of; });
  if (found == labels_.end() || found->point != point.sequence) return;
  point.label = found->label;
  point.pinned = found->pinned;
}

Point ReplicaView::NewestPoint() const {
  absl::MutexLock lock(&mutex_);
  Point point = point_;
  Label(point);
  return point;
}

std::vector<UndoAbout> ReplicaView::Undo() const {
  absl::MutexLock lock(&mutex_);
  std::vector<UndoAbout> records = undo_;
  if (labels_.empty()) return records;
  for (UndoAbout& about : records) Label(about.point);
  return records;
}

std::vector<Point> ReplicaView::Points() const {
  std::vector<Point> points;
  for (const UndoAbout& about : Undo()) points.push_back(about.point);
  std::reverse(points.begin(), points.end());
  return points;
}

PointTotals ReplicaView::Totals() const {
  absl::MutexLock lock(&mutex_);
  PointTotals totals{.points = undo_.size()};
  for (const UndoAbout& about : undo_) totals.held_bytes += about.point.held_bytes;
  return totals;
}

void ReplicaView::SetPoints(const Point& newest, std::vector<UndoAbout> undo) {
  absl::MutexLock lock(&mutex_);
  point_ = newest;
  undo_ = std::move(undo);
}

void ReplicaView::AddCommit(const Point& point, const std::vector<model::Sequence>& gone,
                            const std::optional<UndoAbout>& left) {
  absl::MutexLock lock(&mutex_);
  point_ = point;
  std::erase_if(
      undo_, [&](const UndoAbout& about) { return std::find(gone.begin(), gone.end(), about.sequence) != gone.end(); });
  if (!left.has_value()) return;
  undo_.push_back(*left);
  // Labels are added when somebody asks.
  undo_.back().point.label.clear();
  undo_.back().point.pinned = false;
}

std::optional<UndoAbout> ReplicaView::Measured(model::Sequence sequence, uint64_t kept_bytes) {
  absl::MutexLock lock(&mutex_);
  for (auto about = undo_.rbegin(); about != undo_.rend(); ++about) {
    if (about->sequence != sequence || about->measured) continue;
    about->point.held_bytes += kept_bytes;
    about->measured = true;
    return *about;
  }
  return std::nullopt;
}

void ReplicaView::DropOldest(size_t count) {
  absl::MutexLock lock(&mutex_);
  undo_.erase(undo_.begin(), undo_.begin() + static_cast<ptrdiff_t>(count));
}

void ReplicaView::Merge(const std::vector<model::Sequence>& replaces, const UndoAbout& merged) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(undo_, [&](const UndoAbout& about) {
    return about.sequence != merged.sequence &&
           std::find(replaces.begin(), replaces.end(), about.sequence) != replaces.end();
  });
  for (UndoAbout& about : undo_) {
    if (about.sequence == merged.sequence) about = merged;
  }
}

void ReplicaView::SetLabels(std::vector<PointLabel> labels) {
  absl::MutexLock lock(&mutex_);
  labels_ = std::move(labels);
}

std::vector<PointLabel> ReplicaView::Labels() const {
  absl::MutexLock lock(&mutex_);
  return labels_;
}

}  // namespace understudy::dr
