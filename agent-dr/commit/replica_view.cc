#include "agent-dr/commit/replica_view.h"

#include <algorithm>
#include <utility>

namespace understudy::dr {

model::ReplicaState ReplicaView::State() const {
  absl::MutexLock lock(&mutex_);
  model::ReplicaState state = state_;
  state.captured_at_nanoseconds = point_.captured_at_nanoseconds;
  return state;
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

Point ReplicaView::NewestPoint() const {
  absl::MutexLock lock(&mutex_);
  return point_;
}

std::vector<UndoAbout> ReplicaView::Undo() const {
  absl::MutexLock lock(&mutex_);
  return undo_;
}

std::vector<Point> ReplicaView::Points() const {
  std::vector<Point> points;
  for (const UndoAbout& about : Undo()) points.push_back(about.point);
  std::reverse(points.begin(), points.end());
  return points;
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
  if (left.has_value()) undo_.push_back(*left);
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

}  // namespace understudy::dr
