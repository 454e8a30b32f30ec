#include "agent-primary/ship/capture_run.h"

#include <fmt/format.h>

#include <utility>

#include "agent-primary/capture/change_detector.h"
#include "agent-primary/capture/planner.h"
#include "agent-primary/ship/plan_shipper.h"
#include "agent-primary/ship/root_guard.h"
#include "core/os/metadata.h"
#include "core/os/tree_walk.h"

namespace understudy::primary {
namespace {

using model::FileKind;

// Moves, and the folders that they need, have to be in one commit. Where that would be larger than this, nothing counts
// as moved.
constexpr size_t kMaxMoveOperations = 3000;
constexpr size_t kMaxMovePathBytes = 2 * 1024 * 1024;
// While folders are renamed faster than they can be looked at; after so many looks nothing counts as moved, either.
constexpr int kMaxTornLooks = 10;

absl::Status Look(ChangeDetector& detector, const DirtyBatch& batch) {
  if (batch.whole_volume) {
    RETURN_IF_ERROR(detector.LookBelow(""));
    return detector.LookAtOtherNames();
  }
  for (const DirtyPath& dirty : batch.paths) {
    if (detector.truncated()) break;
    RETURN_IF_ERROR(dirty.subtree ? detector.LookBelow(dirty.path) : detector.LookAt(dirty.path));
  }
  return detector.LookAtOtherNames();
}

// nullopt: the folder is the volume's.
absl::StatusOr<std::optional<GuardFinding>> CheckRoot(const CaptureContext& context) {
  ASSIGN_OR_RETURN(const RootIdentity now, IdentifyRoot(context.root));
  std::optional<RootIdentity> known = context.index.guard().root;
  if (!known.has_value()) {
    // An index from before there was such a record knows the inode.
    ASSIGN_OR_RETURN(const std::optional<IndexRow> row, context.index.Find(""));
    known = RootIdentity{0, row.has_value() ? row->inode : 0, 0};
  }
  const std::optional<std::string> change = FindRootChange(*known, now);
  if (change.has_value()) {
    return GuardFinding{kRootGuard,
                        fmt::format("the volume's folder isn't the one that was replicated before ({}): is its "
                                    "filesystem mounted? Bring the old folder back, or take the new one with `drctl "
                                    "guard approve {}`",
                                    *change, context.volume),
                        0,
                        0,
                        0,
                        now};
  }
  if (context.index.guard().root.has_value()) return std::nullopt;
  GuardRecord record = context.index.guard();
  record.root = now;
  RETURN_IF_ERROR(context.index.SaveGuard(record));
  return std::nullopt;
}

absl::StatusOr<uint64_t> CountEntriesHere(const os::Root& root) {
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(root, "", os::kWorkFolderName));
  for (uint64_t entries = 0;; ++entries) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return entries;
  }
}

// `truncated`: the plan is the first part of a larger one. Then what is here counts: neither may a deletion come to DR
// piece by piece, nor does it help that what was moved isn't met at its new place yet.
absl::StatusOr<std::optional<GuardFinding>> CheckDeletion(const CaptureContext& context, const Plan& plan,
                                                          bool truncated) {
  Deletion deletion{.entries = context.index.entries()};
  ASSIGN_OR_RETURN(deletion.entries_after, CountEntriesAfter(plan, context.index));
  const bool part = truncated && (!plan.removals.empty() || plan.replaced > 0);
  if (part) {
    ASSIGN_OR_RETURN(deletion.entries_after, CountEntriesHere(context.root));
  }
  if (deletion.entries_after == 0 && deletion.entries > 0) {
    ASSIGN_OR_RETURN(deletion.bytes, context.index.CountBytes());
  }
  GuardRecord record = context.index.guard();
  const bool allowed = AllowDeletion(context.guard, record, deletion, context.now_nanoseconds);
  RETURN_IF_ERROR(context.index.SaveGuard(record));
  if (allowed) return std::nullopt;
  return DescribeHeld(context.volume, *record.held);
}

// Whether the moves and all that has no content of its own do.
bool FitsOneCommit(const Plan& plan) {
  size_t operations = 2 * plan.moves.size() + plan.removals.size();
  size_t bytes = 0;
  for (const Plan::Move& move : plan.moves) bytes += move.source.path.size();
  for (const IndexEntry& removal : plan.removals) bytes += removal.path.size();
  for (const PlannedEntry& entry : plan.entries) {
    if (entry.stat.kind == FileKind::kRegular && !entry.move_slot.has_value()) continue;
    ++operations;
    bytes += entry.path.size();
  }
  return operations <= kMaxMoveOperations && bytes <= kMaxMovePathBytes;
}

// Why nothing was done with moves.
enum class Obstacle { kNone, kTooManyMoves, kTornLook };

absl::StatusOr<Obstacle> TryCapture(const CaptureContext& context, const DirtyBatch& batch, bool moves,
                                    CaptureResult& result) {
  ChangeDetector detector(context.root, context.index, moves);
  RETURN_IF_ERROR(Look(detector, batch));
  if (moves && detector.torn()) return Obstacle::kTornLook;
  ASSIGN_OR_RETURN(const Plan plan, MakePlan(detector, context.index));
  if (moves && !plan.moves.empty() && !FitsOneCommit(plan)) return Obstacle::kTooManyMoves;
  ASSIGN_OR_RETURN(result.held, CheckDeletion(context, plan, detector.truncated()));
  if (result.held.has_value()) return Obstacle::kNone;
  const model::Sequence before = context.index.state().sequence;
  result.more = detector.truncated();
  RETURN_IF_ERROR(ShipPlan(context, plan, result));
  result.commits = context.index.state().sequence - before;
  if (!batch.whole_volume || result.more) return Obstacle::kNone;
  GuardRecord record = context.index.guard();
  EndApproval(record, context.index.entries(), context.now_nanoseconds);
  RETURN_IF_ERROR(context.index.SaveGuard(record));
  return Obstacle::kNone;
}

}  // namespace

absl::StatusOr<CaptureResult> RunCapture(const CaptureContext& context, const DirtyBatch& batch) {
  CaptureResult result;
  ASSIGN_OR_RETURN(result.held, CheckRoot(context));
  if (result.held.has_value()) return result;
  CaptureContext with_bases = context;
  if (context.open_bases) with_bases.bases = context.open_bases(context.root);
  Obstacle obstacle = Obstacle::kTornLook;
  for (int look = 0; look < kMaxTornLooks && obstacle == Obstacle::kTornLook; ++look) {
    if (context.stop.stop_requested()) return absl::CancelledError("the agent stops");
    ASSIGN_OR_RETURN(obstacle, TryCapture(with_bases, batch, /*moves=*/true, result));
  }
  if (obstacle != Obstacle::kNone) {
    ASSIGN_OR_RETURN(obstacle, TryCapture(with_bases, batch, /*moves=*/false, result));
    UNDERSTUDY_CHECK(obstacle == Obstacle::kNone);
  }
  return result;
}

GuardFinding DescribeHeld(const model::VolumeName& volume, const HeldDeletion& held) {
  return {kDeletionGuard,
          fmt::format("{} of {} entries would be deleted at DR, as they were here: bring them back, or let it happen "
                      "with `drctl guard approve {}`",
                      held.entries_gone, held.entries_before, volume),
          held.entries_gone,
          held.entries_before,
          held.since_nanoseconds,
          std::nullopt};
}

absl::Status TakeRoot(VolumeIndex& index, const os::Root& root, const std::optional<RootIdentity>& seen) {
  GuardRecord record = index.guard();
  ASSIGN_OR_RETURN(record.root, IdentifyRoot(root));
  if (record.root != seen) {
    return absl::FailedPreconditionError(
        "another folder stands there than the one that was to be approved: look at `drctl guard list` again");
  }
  // First, so that a crash in between asks again instead of trusting inode numbers of the old folder.
  RETURN_IF_ERROR(index.ForgetIdentities());
  return index.SaveGuard(record, store::Durability::kFull);
}

}  // namespace understudy::primary
