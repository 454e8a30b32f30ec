// capture_run.h: one capture of one volume: from dirty paths to acknowledged commits.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "agent-primary/capture/base_store.h"
#include "agent-primary/capture/deletion_guard.h"
#include "agent-primary/capture/file_capture.h"
#include "agent-primary/index/volume_index.h"
#include "agent-primary/ship/capture_moment.h"
#include "agent-primary/ship/commit_builder.h"
#include "agent-primary/ship/file_looks.h"
#include "agent-primary/watch/dirty_set.h"
#include "core/base/clock.h"
#include "core/model/replica_sink.h"
#include "core/os/metadata.h"
#include "core/os/root.h"

namespace understudy::primary {

// Why a volume is held back, until that is gone or approved.
struct GuardFinding {
  std::string kind;    // "deletion" or "root"
  std::string reason;  // for people, with what to do
  uint64_t entries_gone = 0;
  uint64_t entries_before = 0;
  int64_t since_nanoseconds = 0;       // Unix time
  std::optional<RootIdentity> root{};  // of the folder that an approval of the root guard takes
};
inline constexpr char kDeletionGuard[] = "deletion";
inline constexpr char kRootGuard[] = "root";

// A file that is large enough to have a base.
struct LargeFileLook {
  std::string path;
  uint64_t size = 0;
  std::string why_not_extents;  // why its changes can't be told by its extents, the next time; empty: they can
};

struct CaptureResult {
  std::optional<GuardFinding> held;  // nothing was submitted

  bool more = false;                    // there were more differences than one capture takes: look at everything again
  std::vector<std::string> look_again;  // changed while they were captured, or a moment before
  std::map<std::string, std::string> unreadable;  // why, by path; also to be looked at again
  uint64_t commits = 0;
  uint64_t content_bytes_sent = 0;
  std::string_view rung;  // of the largest file whose content was sent; empty when none was
  std::optional<LargeFileLook> largest_look;
  FileLooks looks;
  model::Consistency consistency = model::Consistency::kUnknown;  // of the state that the newest commit leads to
  // Large files that rest (BaseStore::RestsUntil): until when, by path.
  std::map<std::string, absl::Duration> postponed;
};

struct CaptureContext {
  const model::VolumeName& volume;
  const os::Root& root;
  VolumeIndex& index;
  model::ReplicaSink& sink;
  Strategy strategy = Strategy::kAuto;
  GuardLimits guard;
  int64_t now_nanoseconds = 0;  // Unix time
  std::stop_token stop;
  // Of the newest opening (ReplicaState); those that were asked for go.
  std::set<std::string>* leftovers = nullptr;
  os::Labels labels = os::Labels::kOmit;
  // The replica lacks the present state of entries that couldn't be read before and that this batch doesn't look at: no
  // commit shows the volume as it is.
  bool lacks_entries = false;
  // DR had no room for the capture before: what goes away is submitted ahead of what comes, as commits of its own, so
  // that it makes room there. Has no effect on a plan with moves, which need what goes away in their commit.
  bool removals_first = false;
  // Asked once it is known that the volume's folder is the right one; nullptr as either: files are read as they stand.
  std::function<BaseStore*(const os::Root& root)> open_bases{};
  BaseStore* bases = nullptr;  // what it said
  bool ignores_rests = false;  // somebody waits
  bool fine_times = false;     // os::HasFineTimes of the volume's filesystem
  // Whether hints told of every change before the call that isn't in the batch, and there was none but at these paths.
  // nullptr: not known.
  std::function<bool(const FrozenFiles& but)> is_all_told{};
  // Of the state that DR has: while somebody waits, one that turns out better is told, though nothing else changed.
  // nullopt: it isn't wanted.
  std::optional<model::Consistency> known_consistency{};
  uint64_t most_inline_bytes = kMaxBuilderInlineBytes;
  const Clock& clock = Clock::System();
};

// Returns when all that the batch led to is acknowledged, or held back by a guard. CANCELLED: `stop` was requested.
// After an error the volume has to be opened again; whatever was acknowledged meanwhile is in the index.
[[nodiscard]] absl::StatusOr<CaptureResult> RunCapture(const CaptureContext& context, const DirtyBatch& batch);

// What the deletion guard holds back, for people.
[[nodiscard]] GuardFinding DescribeHeld(const model::VolumeName& volume, const HeldDeletion& held);

// Of the root guard: the volume's folder can't be opened, for `reason`.
[[nodiscard]] GuardFinding DescribeMissingFolder(const absl::Status& reason);

// Takes the folder at `root` for the volume's from now on, whichever was before; on disk when it returns OK.
// FAILED_PRECONDITION: it isn't the folder `seen`.
[[nodiscard]] absl::Status TakeRoot(VolumeIndex& index, const os::Root& root, const std::optional<RootIdentity>& seen);

}  // namespace understudy::primary
