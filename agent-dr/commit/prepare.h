// prepare.h: makes everything that a commit places, as it will be, in the staging folder: after it, publishing is
// renames, unlinks, links, the ranges of patched files and metadata, and every entry of the commit has its inode.
#pragma once

#include <cstddef>
#include <map>

#include "agent-dr/commit/fault_points.h"
#include "agent-dr/commit/preflight.h"
#include "agent-dr/commit/staging.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/root.h"

namespace understudy::dr {

// Whether an operation of pass 2 places what is in the staging folder (WorkArea::StagedEntry).
[[nodiscard]] bool PlacesStagedEntry(const model::Operation& operation);

// Inline contents become files and are moved out of `commit`; staged contents get the name of their operation and are
// checked against size and, unless they had a base, digest; metadata is set. Nothing is synced. Returns
// what the record has to know of each Patch, by index of the operation. DATA_LOSS about a path:
// content that isn't what its digest says. INVALID_ARGUMENT: a slot that wasn't staged.
[[nodiscard]] absl::StatusOr<std::map<size_t, PatchedFile>> PrepareCommit(const os::Root& replica, const WorkArea& work,
                                                                          const Staging& staging,
                                                                          const CommitPlan& plan, FaultPoints& faults,
                                                                          model::Commit& commit);

}  // namespace understudy::dr
