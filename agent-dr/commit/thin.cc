// What replica.h declares of merging undo records, and of what names states and holds them.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <variant>

#include "agent-dr/commit/file_clone.h"
#include "agent-dr/commit/free_space.h"
#include "agent-dr/commit/replica.h"
#include "core/base/log.h"
#include "core/os/file_io.h"

namespace understudy::dr {
namespace {

// Of one call, during which commits wait.
constexpr size_t kMostMerged = 64;
constexpr size_t kMostTried = 4 * kMostMerged;
constexpr size_t kMostCopiedRanges = 50'000;
constexpr uint64_t kMostCopiedBytes = uint64_t{256} * 1024 * 1024;  // where blocks can't be shared
// Of one record: it is read whole to be run.
constexpr size_t kMostOperations = 20'000;
constexpr uint64_t kMostOperationBytes = uint64_t{64} * 1024 * 1024;

// About what the operations take once they are written down.
uint64_t BytesOf(const std::vector<model::Operation>& operations) {
  constexpr uint64_t kRest = 64;
  uint64_t bytes = 0;
  const auto add = [&bytes](const model::Metadata& metadata) {
    for (const model::Xattr& xattr : metadata.xattrs) bytes += xattr.name.size() + xattr.value.size();
  };
  for (const model::Operation& operation : operations) {
    bytes += kRest + std::visit([](const auto& op) { return op.path.size(); }, operation);
    if (const auto* const patch = std::get_if<model::Patch>(&operation)) add(patch->metadata);
    if (const auto* const set = std::get_if<model::SetMetadata>(&operation)) add(set->metadata);
  }
  return bytes;
}

// What merging a record with another one may have to copy.
struct ContentSize {
  size_t ranges = 0;
  uint64_t bytes = 0;
};
ContentSize SizeOfContent(const UndoRecord& record) {
  ContentSize size;
  for (const auto& [kept, ranges] : record.kept_content) {
    size.ranges += ranges.size();
    for (const ContentRange& range : ranges) size.bytes += range.hole ? 0 : range.length;
  }
  return size;
}

}  // namespace

absl::StatusOr<size_t> Replica::Thin() {
  absl::MutexLock lock(&work_mutex_);
  if (must_recover_ && !retired_ && State().held) {
    // Nobody opens it meanwhile.
    RETURN_IF_ERROR(view_.SetUsable(Recover()));
  }
  if (retired_ || must_recover_ || unpublished_.has_value() || folders_ == nullptr) return 0;
  if (!shares_blocks_.has_value()) {
    ASSIGN_OR_RETURN(shares_blocks_, SharesBlocks(folders_->work.undo()));
  }
  if (stay_apart_.size() > kMaxUndoRecords) stay_apart_.clear();
  const std::vector<UndoAbout> records = view_.Undo();
  for (const UndoAbout& about : records) {
    if (!about.measured && MakeWay().ok()) MeasureKept(about.sequence);
  }
  const absl::StatusOr<size_t> beyond = DropBeyondBounds();
  if (!beyond.ok()) {
    return Annotate(beyond.status(), fmt::format("give up old recovery points of volume '{}'", State().volume));
  }
  if (*beyond > 0) return *beyond;
  size_t merged = 0;
  size_t tried = 0;
  absl::Status first_error;
  const model::ReplicaState state = State();
  // In the midst of a capture, the newest state that the primary really had is where a failover goes back to.
  const auto way_back = state.newest_whole ? std::optional(state.newest_whole->sequence) : std::nullopt;
  // What the newest commit left isn't settled.
  for (const std::vector<model::Sequence>& run :
       RunsToMerge(view_.Undo(), settings_.points, settings_.clock->Now(), state.sequence, way_back)) {
    if (merged > 0 || tried >= kMostTried) break;
    const absl::Status done = MergeRun(run, merged, tried);
    if (done.ok()) continue;
    first_error.Update(Annotate(done, fmt::format("merge recovery points of volume '{}'", State().volume)));
    if (!must_recover_) continue;
    // What was begun has to be finished before anything else; the next opening does that.
    session_ = 0;
    break;
  }
  if (!first_error.ok() && merged == 0) return first_error;
  return merged;
}

// The first records of `run` that can be one.
absl::Status Replica::MergeRun(const std::vector<model::Sequence>& run, size_t& merged, size_t& tried) {
  for (size_t begin = 0; begin + 1 < run.size() && tried < kMostTried; ++begin) {
    if (stay_apart_.contains(run[begin + 1])) continue;
    ++tried;
    const absl::StatusOr<UndoRecord> oldest = store_->LoadUndo(run[begin]);
    std::optional<UndoMerger> merger = oldest.ok() ? UndoMerger::Begin(*oldest) : std::nullopt;
    if (!merger.has_value()) {
      // A record that can't be read is told by whoever wants to run it.
      stay_apart_.insert(run[begin + 1]);
      continue;
    }
    size_t operations = oldest->operations.size();
    uint64_t operation_bytes = BytesOf(oldest->operations);
    ContentSize content;
    for (size_t next = begin + 1; next < run.size() && merger->Count() < kMostMerged; ++next) {
      ++tried;
      const absl::StatusOr<UndoRecord> newer = store_->LoadUndo(run[next]);
      bool fits = newer.ok();
      if (fits) {
        operations += newer->operations.size();
        operation_bytes += BytesOf(newer->operations);
        const ContentSize its = SizeOfContent(*newer);
        const bool too_much = its.ranges > kMostCopiedRanges || (!*shares_blocks_ && its.bytes > kMostCopiedBytes);
        content.ranges += its.ranges;
        content.bytes += *shares_blocks_ ? 0 : its.bytes;
        if (!too_much && (content.ranges > kMostCopiedRanges || content.bytes > kMostCopiedBytes)) break;
        fits = !too_much && operations <= kMostOperations && operation_bytes <= kMostOperationBytes;
      }
      if (fits && merger->Add(*newer)) continue;
      stay_apart_.insert(run[next]);
      break;
    }
    if (merger->Count() < 2) continue;
    const size_t count = merger->Count();
    MergedUndo joined = std::move(*merger).Take();
    const std::vector<model::Sequence> replaces = joined.replaces;
    const absl::Status applied = ApplyMerge(std::move(joined));
    if (applied.ok()) merged = count - 1;
    // Else it would be tried, and told, again and again.
    if (!applied.ok() && !must_recover_) stay_apart_.insert(replaces.begin() + 1, replaces.end());
    return applied;
  }
  return absl::OkStatus();
}

absl::Status Replica::ApplyMerge(MergedUndo merged) {
  // With the reserve left, what comes after the transaction has room, too.
  RETURN_IF_ERROR(CheckFreeSpace(folders_->work.undo().fd(), 0, merged.moves.size() + 1));
  const absl::Status copied = CopyKept(merged.copies);
  if (!copied.ok()) {
    DropCopied(merged.copies);
    return copied;
  }
  if (!merged.moves.empty()) {
    const absl::StatusOr<os::Root> present = folders_->work.OpenUndoFolder(merged.record.about.sequence);
    if (absl::IsNotFound(present.status())) {
      RETURN_IF_ERROR(folders_->work.MakeUndoFolder(merged.record.about.sequence).status());
    } else {
      RETURN_IF_ERROR(present.status());
    }
  }
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
  DiscardSomeRemoved();
  return absl::OkStatus();
}

absl::Status Replica::CopyKept(const std::vector<KeptCopy>& copies) {
  for (const KeptCopy& copy : copies) {
    ASSIGN_OR_RETURN(const os::Fd from, folders_->work.OpenKept(copy.from, O_RDONLY));
    ASSIGN_OR_RETURN(const os::Fd to, folders_->work.OpenKept(copy.to, O_RDWR));
    for (const ContentRange& range : copy.ranges) {
      RETURN_IF_ERROR(MergeEffect());
      RETURN_IF_ERROR(SaveRange(from.get(), to.get(), range));
    }
  }
  return absl::OkStatus();
}

// Nothing counts in these ranges of a kept file, so nothing is to be held for them.
void Replica::DropCopied(const std::vector<KeptCopy>& copies) {
  for (const KeptCopy& copy : copies) {
    const absl::StatusOr<os::Fd> to = folders_->work.OpenKept(copy.to, O_RDWR);
    if (!to.ok()) continue;
    for (const ContentRange& range : copy.ranges) ZeroRange(to->get(), range.offset, range.length).IgnoreError();
  }
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

absl::Status Replica::GiveUpUnmoved() {
  ASSIGN_OR_RETURN(const VolumeStore::DueMoves due, store_->LoadMoves());
  std::vector<model::Sequence> lost;
  const std::vector<UndoAbout> records = view_.Undo();
  for (const UndoAbout& about : records) {
    if (about.sequence <= due.into) lost.push_back(about.sequence);
  }
  spdlog::warn("volume={} its {} oldest recovery points are given up: the filesystem is full", State().volume,
               lost.size());
  probe_.points_given_up += lost.size();
  RETURN_IF_ERROR(store_->DropUndo(lost));
  RETURN_IF_ERROR(store_->ForgetMoves());
  return LoadUndo(NewestPoint());
}

absl::Status Replica::SetLabel(const PointLabel& label) {
  absl::MutexLock lock(&work_mutex_);
  if (retired_ || !store_.has_value()) return absl::UnavailableError("the replica can't be used now");
  RETURN_IF_ERROR(CheckStandby());
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

// What clients write isn't any of the states that are kept.
absl::Status Replica::CheckStandby() const {
  const model::ReplicaState state = State();
  if (state.state == model::VolumeState::kStandby) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("volume '{}' is {} here, not a standby", state.volume, model::ToString(state.state)));
}

absl::Status Replica::SetHeld(bool held) {
  absl::MutexLock lock(&work_mutex_);
  return SetHeldLocked(held);
}

absl::Status Replica::SetHeldLocked(bool held) {
  if (retired_ || !store_.has_value()) return absl::UnavailableError("the replica can't be used now");
  if (held) RETURN_IF_ERROR(CheckStandby());
  RETURN_IF_ERROR(store_->SetHeld(held));
  model::ReplicaState state = State();
  state.held = held;
  view_.SetState(state);
  if (held) session_ = 0;
  return absl::OkStatus();
}

}  // namespace understudy::dr
