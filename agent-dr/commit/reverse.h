// reverse.h: what takes a replica from the state after a commit back to the one before it, as operations of the same
// kind and order (core/model/commit.h).
//
// What a commit displaces is kept, under the index of the operation that displaced it: a removed or replaced entry, or
// the old content of what a Patch changes. In the reverse it is named by a kept slot: an Attach of one brings the entry
// back, a Patch of one the old content. A reverse is a commit like any other, so it has a reverse itself.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "agent-dr/commit/preflight.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/root.h"

namespace understudy::dr {

// An entry as it was before the commit.
struct OldEntry {
  model::FileKind kind = model::FileKind::kRegular;
  uint64_t size = 0;       // in bytes, of a regular file
  model::Digest digest{};  // that a file that is patched should have had; zeros: not known
  model::Metadata metadata;
  bool several_names = false;  // no folder, and has more than this one
};

// All whose metadata `plan` says that its commit changes, by path.
[[nodiscard]] absl::StatusOr<std::map<std::string, OldEntry>> ReadOldEntries(const os::Root& replica,
                                                                             const CommitPlan& plan);

// Paths of what the commit displaces that isn't a folder and has other names.
[[nodiscard]] absl::StatusOr<std::set<std::string>> DisplacedWithSeveralNames(const os::Root& replica,
                                                                              const CommitPlan& plan,
                                                                              const model::Commit& commit);

// Pure. `plan` is that of `commit` (PlanCommit); `old` its old entries.
[[nodiscard]] std::vector<model::Operation> ReverseOf(const model::Commit& commit, const CommitPlan& plan,
                                                      const std::map<std::string, OldEntry>& old);

}  // namespace understudy::dr
