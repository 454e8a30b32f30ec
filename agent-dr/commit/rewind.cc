// What replica.h declares of undo records: keeping them within their bounds, and running them.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include "agent-dr/commit/preflight.h"
#include "agent-dr/commit/replica.h"
#include "core/base/log.h"
#include "core/os/file_io.h"
#include "core/wire/status_path.h"

namespace understudy::dr {
namespace {

// That recovery points are given up is told no more often, of one volume.
constexpr absl::Duration kBetweenWarnings = absl::Hours(1);

}  // namespace

absl::Status Replica::LoadUndo(const Point& point) {
  ran_ = 0;
  needed_from_ = UINT64_MAX;
  measured_.clear();
  ASSIGN_OR_RETURN(std::vector<UndoAbout> records, store_->ListUndo());
  ASSIGN_OR_RETURN(std::vector<PointLabel> labels, store_->ListLabels());
  std::set<model::Sequence> kept = {point.sequence};
  for (const UndoAbout& about : records) kept.insert(about.point.sequence);
  for (const PointLabel& label : labels) {
    if (!kept.contains(label.point)) RETURN_IF_ERROR(store_->DropLabel(label.point));
  }
  view_.SetLabels(std::move(labels));
  view_.SetPoints(point, std::move(records));
  return absl::OkStatus();
}

absl::Status Replica::RecoverUndo() {
  ran_ = 0;
  absl::Status moved = FinishMoves();
  // Being up to date is worth more than the past.
  if (IsForWantOfSpace(moved, folders_->work.staging().fd())) moved = GiveUpUnmoved();
  RETURN_IF_ERROR(moved);
  const std::vector<UndoAbout> records = view_.Undo();
  std::set<model::Sequence> kept;
  for (const UndoAbout& about : records) kept.insert(about.sequence);
  RETURN_IF_ERROR(folders_->work.DropUndoFoldersBut(kept));
  for (const UndoAbout& about : records) {
    if (!about.measured) MeasureKept(about.sequence);
  }
  return absl::OkStatus();
}

std::vector<model::Sequence> Replica::BeyondBounds(bool chain_ends) const {
  const std::vector<UndoAbout> undo = view_.Undo();
  const size_t count = chain_ends ? undo.size() : CountBeyond(undo, settings_.points, settings_.clock->Now());
  std::vector<model::Sequence> beyond;
  for (size_t i = 0; i < count; ++i) beyond.push_back(undo[i].sequence);
  return beyond;
}

void Replica::NoteGivenUp(const std::vector<model::Sequence>& dropped, bool no_space) {
  if (dropped.empty()) return;
  const absl::Time now = settings_.clock->Now();
  const int64_t oldest = absl::ToUnixNanos(now - settings_.points.keep_for);
  size_t early = 0;
  const std::vector<UndoAbout> records = view_.Undo();
  for (const UndoAbout& about : records) {
    if (about.sequence > dropped.back()) break;
    if (about.superseded_at_nanoseconds >= oldest || about.point.pinned) ++early;
  }
  probe_.points_given_up += early;
  if (early == 0 || now - told_given_up_ < kBetweenWarnings) return;
  told_given_up_ = now;
  spdlog::warn("volume={} the oldest recovery points go before their time: {}", State().volume,
               WhyBeyond(records, settings_.points, no_space));
}

void Replica::NoteUndo(const CommitRecord& record, const Point& point, const UndoChanges& undo) {
  std::vector<model::Sequence> gone = undo.dropped;
  if (record.runs != 0) gone.push_back(record.runs);
  NoteGivenUp(undo.dropped, leave_no_undo_);
  view_.AddCommit(point, gone, undo.left.has_value() ? std::optional(undo.left->about) : std::nullopt);
  measured_.clear();
  leave_no_undo_ = false;
  std::vector<model::Sequence> folders = undo.dropped;
  if (ran_ != 0) folders.push_back(std::exchange(ran_, 0));
  for (const model::Sequence sequence : folders) {
    // What can't be moved away now goes with the next start.
    if (faults_.Reach(Step::kDrop, sequence).ok()) folders_->work.DropUndoFolder(sequence).IgnoreError();
  }
}

void Replica::MeasureKept(model::Sequence sequence) {
  const absl::StatusOr<uint64_t> bytes = folders_->work.MeasureUndoFolder(sequence, [this] { return MakeWay(); });
  if (!bytes.ok()) return;
  const std::optional<UndoAbout> measured = view_.Measured(sequence, *bytes);
  if (measured.has_value()) measured_.push_back(*measured);
}

absl::StatusOr<size_t> Replica::DropOldestUndo(size_t most) {
  const model::Sequence newest = State().sequence;  // unsettled
  const std::vector<UndoAbout> records = view_.Undo();
  std::vector<model::Sequence> dropped;
  for (const UndoAbout& about : records) {
    if (dropped.size() == most || about.sequence >= std::min(newest, needed_from_)) break;
    dropped.push_back(about.sequence);
  }
  if (dropped.empty()) {
    if (records.empty() || records.front().sequence >= needed_from_ || unpublished_.has_value()) return 0;
    // Once it is settled no replay needs what it displaced, which may be all that there is to free.
    RETURN_IF_ERROR(SettleLocked());
    dropped.push_back(records.front().sequence);
  }
  probe_.points_given_up += dropped.size();
  const absl::Time now = settings_.clock->Now();
  if (now - told_given_up_ >= kBetweenWarnings) {
    told_given_up_ = now;
    spdlog::warn("volume={} the oldest recovery points go before their time: the filesystem is full", State().volume);
  }
  RETURN_IF_ERROR(DropUndo(dropped));
  RETURN_IF_ERROR(folders_->work.DiscardRemoved([this] { return MakeWay(); }));
  // Where space is given back by transactions (btrfs), it is free after the next one.
  RETURN_IF_ERROR(os::SyncFilesystem(folders_->work.staging().fd()));
  return dropped.size();
}

absl::Status Replica::DropUndo(const std::vector<model::Sequence>& oldest) {
  RETURN_IF_ERROR(faults_.Reach(Step::kDrop, oldest.front()));
  RETURN_IF_ERROR(store_->DropUndo(oldest));
  view_.DropOldest(oldest.size());
  std::erase_if(measured_, [&](const UndoAbout& about) {
    return std::find(oldest.begin(), oldest.end(), about.sequence) != oldest.end();
  });
  for (const model::Sequence sequence : oldest) {
    RETURN_IF_ERROR(faults_.Reach(Step::kDrop, sequence));
    RETURN_IF_ERROR(folders_->work.DropUndoFolder(sequence));
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> Replica::DropBeyondBounds() {
  const std::vector<model::Sequence> beyond = BeyondBounds(/*chain_ends=*/!settings_.points.KeepsAny());
  if (beyond.empty()) return 0;
  // Until the newest commit is settled a replay needs what it displaced.
  if (beyond.back() >= State().sequence) RETURN_IF_ERROR(SettleLocked());
  NoteGivenUp(beyond, /*no_space=*/false);
  RETURN_IF_ERROR(DropUndo(beyond));
  DiscardSomeRemoved();
  return beyond.size();
}

absl::StatusOr<size_t> Replica::DropOlderHalf() {
  return DropOldestUndo((view_.Undo().size() + 1) / 2);
}

absl::Status Replica::MakeRoom(uint64_t bytes, uint64_t entries, Reserve reserve) {
  bool discarded = false;
  for (size_t count = 1;; count *= 2) {
    absl::Status enough = CheckFreeSpace(folders_->work.staging().fd(), bytes, entries, reserve);
    if (!absl::IsResourceExhausted(enough)) return enough;
    // Sooner than any record goes what nobody needs any more.
    if (!std::exchange(discarded, true)) {
      const absl::Status freed = folders_->work.DiscardRemoved([this] { return MakeWay(); });
      if (absl::IsAborted(freed)) return freed;
      continue;
    }
    const absl::StatusOr<size_t> dropped = DropOldestUndo(count);
    if (absl::IsAborted(dropped.status())) return dropped.status();
    if (!dropped.ok() || *dropped == 0) return enough;
  }
}

absl::Status Replica::CheckKept(const std::vector<model::Sequence>& path) {
  for (const model::Sequence sequence : path) {
    RETURN_IF_ERROR(MakeWay());
    ASSIGN_OR_RETURN(const UndoRecord undo, store_->LoadUndo(sequence));
    const bool keeps = !undo.kept_content.empty() ||
                       std::any_of(undo.operations.begin(), undo.operations.end(), [](const auto& operation) {
                         const auto* const attach = std::get_if<model::Attach>(&operation);
                         return attach != nullptr && IsKeptSlot(attach->slot);
                       });
    if (!keeps) continue;
    const absl::StatusOr<os::Root> folder = folders_->work.OpenUndoFolder(sequence);
    if (folder.ok()) continue;
    if (!absl::IsNotFound(folder.status())) return folder.status();
    return absl::DataLossError(
        fmt::format("what is kept for the state after commit {} isn't in the work folder of export '{}': mount the "
                    "export as it was mounted before; nothing was changed",
                    undo.about.point.sequence, Printable(place_.export_path)));
  }
  return absl::OkStatus();
}

absl::Status Replica::RunUndo(model::Sequence sequence) {
  ASSIGN_OR_RETURN(UndoRecord undo, store_->LoadUndo(sequence));
  const model::ReplicaState state = State();
  model::Commit commit;
  commit.volume = state.volume;
  commit.epoch = state.epoch;
  // A number is left out: a primary that waits for the acknowledgement of the one after `state.sequence` can't take
  // this commit for its own.
  commit.base_sequence = state.sequence + 1;
  commit.sequence = state.sequence + 2;
  commit.completes_capture = undo.about.point.completes_capture;
  commit.captured_at_nanoseconds = undo.about.point.captured_at_nanoseconds;
  commit.consistency = undo.about.point.consistency;
  commit.operations = undo.operations;
  RETURN_IF_ERROR(model::ValidateOrder(commit));
  ASSIGN_OR_RETURN(ReadyCommit ready, MakeReady(std::move(commit), &undo));
  RETURN_IF_ERROR(WriteRecord(std::move(ready)));
  return PublishLocked();
}

absl::Status Replica::RunPath(const std::vector<model::Sequence>& path, model::Sequence to,
                              const std::function<void(size_t, size_t)>& step) {
  session_ = 0;
  absl::Status done = EndStaging(State().sequence);
  if (!path.empty()) needed_from_ = *std::min_element(path.begin(), path.end());
  for (size_t i = 0; i < path.size() && done.ok(); ++i) {
    step(i, path.size());
    if (done = MakeWay(); !done.ok()) break;
    rewinding_to_ = to;
    done = RunUndo(path[i]);
  }
  needed_from_ = UINT64_MAX;
  if (done.ok()) rewinding_to_.reset();
  return done;
}

absl::Status Replica::Rewind(model::Sequence to, const std::function<void(size_t, size_t)>& step, bool hold) {
  absl::MutexLock lock(&work_mutex_);
  const model::VolumeName volume = State().volume;
  const auto annotate = [&](const absl::Status& status, const std::string& where = "") {
    absl::Status annotated =
        Annotate(status, fmt::format("take volume '{}' back to the state after commit {}{}", volume, to, where));
    const std::string path = wire::PathOf(status);
    return path.empty() ? annotated : wire::WithPath(std::move(annotated), path);
  };
  if (retired_) return annotate(absl::UnavailableError("it went to the trash just now"));
  if (State().state != model::VolumeState::kStandby) {
    return annotate(
        absl::FailedPreconditionError(fmt::format("it is {} here, not a standby", model::ToString(State().state))));
  }
  if (must_recover_ || unpublished_.has_value() || folders_ == nullptr) {
    const absl::Status recovered = view_.SetUsable(Recover());
    if (!recovered.ok()) return annotate(recovered);
    // What was found may be ahead of what was known.
    if (State().state != model::VolumeState::kStandby) return annotate(absl::FailedPreconditionError("it is promoted"));
  }
  const model::Sequence before = NewestPoint().sequence;
  const absl::StatusOr<std::vector<model::Sequence>> path = PathTo(view_.Undo(), before, to);
  if (!path.ok()) return annotate(path.status());
  if (const absl::Status kept = CheckKept(*path); !kept.ok()) return annotate(kept);
  const bool holds = hold && !State().held;
  if (holds) {
    const absl::Status held = SetHeldLocked(true);
    if (!held.ok()) return annotate(held);
  }
  const absl::Status done = RunPath(*path, to, step);
  if (done.ok()) return done;
  const model::Sequence after = NewestPoint().sequence;
  if (after != before) {
    return annotate(done, fmt::format(" (on the way it came to state {}{}: ask again to go on)", after,
                                      State().held ? ", and is held there" : ""));
  }
  if (holds) {
    const absl::Status released = SetHeldLocked(false);
    if (!released.ok()) return annotate(released, fmt::format(" ({}); it stays held", MessageOf(done)));
  }
  return annotate(done);
}

}  // namespace understudy::dr
