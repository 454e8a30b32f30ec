// preflight.h: whether a commit fits what the replica's folder holds, found out before anything is promised.
//
// A commit names entries as the primary believes them to be at DR. Were it wrong about one, publishing would fail
// halfway, after the acknowledgement; so every operation is tried on the names first.
#pragma once

#include <cstddef>
#include <map>
#include <set>

#include "agent-dr/commit/volume_store.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/root.h"

namespace understudy::dr {

struct CommitPlan {
  std::map<size_t, VacatedEntry> sources;  // of Remove and Detach, by index of the operation
  std::set<size_t> existing_directories;   // indexes of MakeDirectory whose folder is there already
  std::map<size_t, Identity> patched;      // files of Patch, by index of the operation
};

// `commit` is valid by wire::ValidateCommit. DATA_LOSS about a path (core/wire/status_path.h): the replica doesn't
// hold there what the operation needs. Reads names only; changes nothing.
[[nodiscard]] absl::StatusOr<CommitPlan> PlanCommit(const os::Root& replica, const model::Commit& commit);

}  // namespace understudy::dr
