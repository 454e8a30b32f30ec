// preflight.h: whether a commit fits what the replica's folder holds, found out before anything is promised.
//
// A commit names entries as the primary believes them to be at DR. Were it wrong about one, publishing would fail
// halfway, after the acknowledgement; so every operation is tried on the names first.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "agent-dr/commit/volume_store.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/root.h"

namespace understudy::dr {

// Slots of a commit that runs an undo record: what that record keeps under the index of the operation that displaced it
// (agent-dr/commit/reverse.h). Past all that a primary may use.
inline constexpr model::Slot kFirstKeptSlot = model::Slot{1} << 31;
[[nodiscard]] constexpr bool IsKeptSlot(model::Slot slot) {
  return slot >= kFirstKeptSlot;
}
[[nodiscard]] constexpr model::Slot KeptSlot(size_t operation) {
  return kFirstKeptSlot + static_cast<model::Slot>(operation);
}

// By index of the operation where nothing else is said.
struct CommitPlan {
  std::map<size_t, VacatedEntry> sources;          // of Remove and Detach
  std::set<size_t> existing_directories;           // of MakeDirectory whose folder is there already
  std::set<size_t> idle_links;                     // of Link whose path is a name of its target already
  std::map<size_t, Identity> patched;              // files of Patch
  std::map<size_t, std::string> patched_paths;     // their paths before the commit
  std::map<size_t, std::string> displaced;         // where before the commit was what a name is taken from
  std::map<size_t, model::FileKind> placed_kinds;  // of Link, and Attach of a kept slot
  // Of SetMetadata, and of MakeDirectory over a folder: where before the commit is what it is for; nothing for what is
  // new, or kept.
  std::map<size_t, std::string> metadata_of;
  // Paths before the commit of all whose metadata it changes, but for patched files: named ones, and folders whose
  // entries it changes.
  std::set<std::string> touched;

  // Whether a Remove, a Patch or anything that replaces leaves something to be kept.
  [[nodiscard]] bool Displaces(const model::Commit& commit) const;
};

// `commit` is valid by wire::ValidateCommit, or the reverse of one (agent-dr/commit/reverse.h), and `kept` then the
// folder of what its kept slots name (nullptr: it has none). DATA_LOSS about a path (core/wire/status_path.h): the
// replica doesn't hold there what the operation needs. FAILED_PRECONDITION about a path: a file would have more names
// than its filesystem allows. `keeps`: what the commit takes away stays as a name in the work folder. Reads names only;
// changes nothing.
[[nodiscard]] absl::StatusOr<CommitPlan> PlanCommit(const os::Root& replica, const os::Root* kept,
                                                    const model::Commit& commit, bool keeps);

}  // namespace understudy::dr
