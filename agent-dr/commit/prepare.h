// prepare.h: makes everything that a commit places, as it will be, in the staging folder: after it, publishing is
// renames, unlinks and metadata, and every entry of the commit has its inode.
#pragma once

#include "agent-dr/commit/fault_points.h"
#include "agent-dr/commit/preflight.h"
#include "agent-dr/commit/staging.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/status.h"
#include "core/model/commit.h"

namespace understudy::dr {

// The name in the staging folder of what operation `index` of commit `sequence` places; empty for an operation that
// places nothing staged.
[[nodiscard]] std::string StagedNameOf(const model::Operation& operation, model::Sequence sequence, size_t index);

// Inline contents become files and are moved out of `commit`; staged contents are checked against size and, unless
// they had a base, digest; metadata is set. Nothing is synced. DATA_LOSS about a path: content that isn't what its
// digest says. INVALID_ARGUMENT: a slot that wasn't staged.
[[nodiscard]] absl::Status PrepareCommit(const WorkArea& work, const Staging& staging, const CommitPlan& plan,
                                         FaultPoints& faults, model::Commit& commit);

}  // namespace understudy::dr
