// publish.h: brings a recorded commit into the replica's folder: four passes of renames, unlinks, links, ranges of
// patched files and metadata (docs/formats/commit.md).
#pragma once

#include "agent-dr/commit/fault_points.h"
#include "agent-dr/commit/volume_store.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/status.h"
#include "core/os/root.h"

namespace understudy::dr {

// May be called again at any time until the record is settled, after any error or crash: an effect that is there
// already isn't repeated. Nothing is synced.
[[nodiscard]] absl::Status PublishCommit(const os::Root& replica, const WorkArea& work, const CommitRecord& record,
                                         FaultPoints& faults);

}  // namespace understudy::dr
