// prepare.h: makes everything that a commit places, as it will be, in the staging folder: after it, publishing is
// renames, unlinks, links, the ranges of patched files and metadata, and every entry of the commit has its inode.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "agent-dr/commit/fault_points.h"
#include "agent-dr/commit/preflight.h"
#include "agent-dr/commit/staging.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/root.h"

namespace understudy::dr {

// The file type that mknod(2) makes a node of this kind with: a fifo, socket or device.
[[nodiscard]] uint32_t NodeTypeBits(model::FileKind kind);

// Whether an operation of pass 2 places what is in the staging folder (WorkArea::StagedEntry).
[[nodiscard]] bool PlacesStagedEntry(const model::Operation& operation);

// Whether an operation gives an entry that the replica has another name (Attach, Link). Only then can what comes to a
// vacated name be taken for what was there.
[[nodiscard]] bool GivesNames(const model::Commit& commit);

struct PreparedCommit {
  std::map<size_t, PatchedFile> patches;                     // what the record has to know of each Patch
  std::map<size_t, std::vector<ContentRange>> kept_content;  // of files that are patched: what is kept of the old one
  std::vector<BroughtContent> contents;                      // that its files will have
};

// Inline contents become files and are moved out of `commit`; what is new in a new folder is made in that
// (new_places.h); staged contents get the name of their operation and are checked against size and, unless they had a
// base, digest; metadata is set. With `keep`, the folder of what the commit displaces is made
// (WorkArea::MakeUndoFolder), if it displaces anything, and holds the old content of what it patches. `run` is the undo
// record that the commit runs, nullptr for any other. Nothing is synced. DATA_LOSS about a path: content that isn't
// what its digest says. INVALID_ARGUMENT: a slot that wasn't staged.
[[nodiscard]] absl::StatusOr<PreparedCommit> PrepareCommit(const os::Root& replica, const WorkArea& work,
                                                           const Staging& staging, const CommitPlan& plan,
                                                           const UndoRecord* run, bool keep, FaultPoints& faults,
                                                           model::Commit& commit);

}  // namespace understudy::dr
