// What replica.h declares of merging undo records, and of what names states and holds them.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "agent-dr/commit/file_clone.h"
#include "agent-dr/commit/replica.h"
#include "core/base/log.h"
#include "core/os/file_io.h"

namespace understudy::dr {
namespace {

// Of one call, during which commits wait.
constexpr size_t kMostMerged = 64;
constexpr size_t kMostCopiedRanges = 50'000;
constexpr size_t kMostOperations = 500'000;

}  // namespace

absl::StatusOr<size_t> Replica::Thin() {
  absl::MutexLock lock(&work_mutex_);
  if (retired_ || must_recover_ || unpublished_.has_value() || folders_ == nullptr) return 0;
  // What the newest commit left isn't settled.
  const std::vector<UndoAbout> records = view_.Undo();
  size_t merged = 0;
  for (const std::vector<model::Sequence>& run :
       RunsToMerge(records, settings_.points, settings_.clock->Now(), State().sequence)) {
    const absl::Status done = MergeRun(run, merged);
    // What was begun has to be finished before anything else; the next opening does that.
    if (must_recover_) session_ = 0;
    if (!done.ok()) return Annotate(done, fmt::format("merge recovery points of volume '{}'", State().volume));
    if (merged > 0) break;
  }
  return merged;
}

// The first records of `run` that can be one.
absl::Status Replica::MergeRun(const std::vector<model::Sequence>& run, size_t& merged) {
  for (size_t begin = 0; begin + 1 < run.size(); ++begin) {
    if (stay_apart_.contains(run[begin + 1])) continue;
    const absl::StatusOr<UndoRecord> oldest = store_->LoadUndo(run[begin]);
    std::optional<UndoMerger> merger = oldest.ok() ? UndoMerger::Begin(*oldest) : std::nullopt;
    size_t operations = oldest.ok() ? oldest->operations.size() : 0;
    for (size_t next = begin + 1; next < run.size() && merger.has_value(); ++next) {
      if (merger->Count() == kMostMerged || merger->CopiedRanges() > kMostCopiedRanges) break;
      const absl::StatusOr<UndoRecord> newer = store_->LoadUndo(run[next]);
      operations += newer.ok() ? newer->operations.size() : 0;
      if (newer.ok() && operations <= kMostOperations && merger->Add(*newer)) continue;
      // A record that can't be read is told by whoever wants to run it.
      stay_apart_.insert(run[next]);
      break;
    }
    if (!merger.has_value()) {
      stay_apart_.insert(run[begin + 1]);
    } else if (merger->Count() > 1) {
      merged = merger->Count() - 1;
      return ApplyMerge(std::move(*merger).Take());
    }
  }
  return absl::OkStatus();
}

absl::Status Replica::ApplyMerge(MergedUndo merged) {
  RETURN_IF_ERROR(CopyKept(merged.copies));
  RETURN_IF_ERROR(MergeEffect());
  RETURN_IF_ERROR(os::SyncFilesystem(folders_->work.undo().fd()));
  RETURN_IF_ERROR(MergeEffect());
  merged.record.about.measured = false;
  must_recover_ = true;
  RETURN_IF_ERROR(store_->MergeUndo(merged.record, merged.replaces, merged.moves));
  view_.Merge(merged.replaces, merged.record.about);
  std::erase_if(measured_, [&](const UndoAbout& about) {
    return std::find(merged.replaces.begin(), merged.replaces.end(), about.sequence) != merged.replaces.end();
  });
  RETURN_IF_ERROR(FinishMoves());
  for (const model::Sequence sequence : merged.replaces) {
    if (sequence == merged.record.about.sequence) continue;
    RETURN_IF_ERROR(MergeEffect());
    RETURN_IF_ERROR(folders_->work.DropUndoFolder(sequence));
  }
  must_recover_ = false;
  MeasureKept(merged.record.about.sequence);
  return folders_->work.DiscardRemoved();
}

absl::Status Replica::CopyKept(const std::vector<KeptCopy>& copies) {
  const auto open = [&](const KeptPlace& place, int flags) {
    return folders_->work.undo().OpenPath(fmt::format("{}/{}", place.sequence, place.entry), flags);
  };
  for (const KeptCopy& copy : copies) {
    ASSIGN_OR_RETURN(const os::Fd from, open(copy.from, O_RDONLY));
    ASSIGN_OR_RETURN(const os::Fd to, open(copy.to, O_RDWR));
    for (const ContentRange& range : copy.ranges) {
      RETURN_IF_ERROR(MergeEffect());
      RETURN_IF_ERROR(SaveRange(from.get(), to.get(), range));
    }
  }
  return absl::OkStatus();
}

absl::Status Replica::FinishMoves() {
  ASSIGN_OR_RETURN(const VolumeStore::DueMoves due, store_->LoadMoves());
  if (due.moves.empty()) return absl::OkStatus();
  absl::StatusOr<os::Root> into = folders_->work.OpenUndoFolder(due.into);
  if (absl::IsNotFound(into.status())) into = folders_->work.MakeUndoFolder(due.into);
  RETURN_IF_ERROR(into.status());
  for (const KeptMove& move : due.moves) {
    RETURN_IF_ERROR(MergeEffect());
    const std::string from = fmt::format("{}/{}", move.from.sequence, move.from.entry);
    if (renameat(folders_->work.undo().fd(), from.c_str(), into->fd(), fmt::format("{}", move.to).c_str()) == 0)
      continue;
    if (errno != ENOENT) return ErrnoStatus(errno, "move what an undo record keeps");
  }
  RETURN_IF_ERROR(MergeEffect());
  RETURN_IF_ERROR(os::SyncFilesystem(folders_->work.undo().fd()));
  RETURN_IF_ERROR(MergeEffect());
  return store_->ForgetMoves();
}

absl::Status Replica::SetLabel(const PointLabel& label) {
  absl::MutexLock lock(&work_mutex_);
  if (retired_ || !store_.has_value()) return absl::UnavailableError("the replica can't be used now");
  std::vector<Point> points = Points();
  points.push_back(NewestPoint());
  bool found = false;
  for (const Point& point : points) {
    const bool is_this = point.sequence == label.point;
    found = found || is_this;
    // A state has one label, and a label one state: neither goes because somebody else wants another.
    if (point.label.empty() || is_this == (point.label == label.label)) continue;
    return absl::AlreadyExistsError(
        fmt::format("the state after commit {} is called '{}' already: drctl points forget {} {} first", point.sequence,
                    point.label, State().volume, point.label));
  }
  if (!found) return absl::NotFoundError(fmt::format("the state after commit {} isn't kept (any more)", label.point));
  RETURN_IF_ERROR(store_->SetLabel(label));
  ASSIGN_OR_RETURN(std::vector<PointLabel> labels, store_->ListLabels());
  view_.SetLabels(std::move(labels));
  return absl::OkStatus();
}

absl::Status Replica::DropLabel(model::Sequence point) {
  absl::MutexLock lock(&work_mutex_);
  if (retired_ || !store_.has_value()) return absl::UnavailableError("the replica can't be used now");
  const std::vector<PointLabel> labels = view_.Labels();
  const auto found =
      std::find_if(labels.begin(), labels.end(), [&](const PointLabel& label) { return label.point == point; });
  if (found == labels.end()) {
    return absl::NotFoundError(fmt::format("the state after commit {} has no label", point));
  }
  RETURN_IF_ERROR(store_->DropLabel(point));
  ASSIGN_OR_RETURN(std::vector<PointLabel> left, store_->ListLabels());
  view_.SetLabels(std::move(left));
  return absl::OkStatus();
}

absl::Status Replica::SetHeld(bool held) {
  absl::MutexLock lock(&work_mutex_);
  if (retired_ || !store_.has_value()) return absl::UnavailableError("the replica can't be used now");
  RETURN_IF_ERROR(store_->SetHeld(held));
  model::ReplicaState state = State();
  state.held = held;
  view_.SetState(state);
  if (held) session_ = 0;
  return absl::OkStatus();
}

}  // namespace understudy::dr
