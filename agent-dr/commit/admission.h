// admission.h: what a commit has to meet before anything is done for it: that it belongs here, and has room. Pure.
#pragma once

#include <cstdint>
#include <string_view>

#include "agent-dr/commit/staged_files.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/model/volume.h"

namespace understudy::dr {

// Whether the commit is well formed and the next one of the replica in this state. INVALID_ARGUMENT: it is malformed,
// of another volume, or reaches into the work folder; FAILED_PRECONDITION: another epoch or base.
// `holds_work_folder`: the work folder lies in the replica's own folder.
[[nodiscard]] absl::Status CheckAdmission(const model::Commit& commit, const model::ReplicaState& state,
                                          bool holds_work_folder);

// Whether a path that a peer gave stays out of the work folder: what lies there isn't the volume's, to write or to
// read. INVALID_ARGUMENT: it doesn't.
[[nodiscard]] absl::Status CheckNoWorkFolder(std::string_view path, bool holds_work_folder);

struct SpaceNeed {
  uint64_t bytes = 0;
  uint64_t entries = 0;
  bool for_undo_alone = false;  // nothing new is placed: the commit may be what makes room
};
// Of filesystem blocks; what is staged under a slot is there already.
[[nodiscard]] SpaceNeed SpaceNeedOf(const model::Commit& commit, const StagedFiles& staged);

}  // namespace understudy::dr
