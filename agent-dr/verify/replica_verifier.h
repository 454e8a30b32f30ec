// replica_verifier.h: what DR can say of a replica without the primary, and what it lists for a comparison with it.
//
// Commits go on meanwhile: the replica's lock is held for a moment at each file only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/verify/damage_keeper.h"
#include "core/model/verify.h"

namespace understudy::dr {

struct VerifyListener {
  // Called again and again; its error ends the verification.
  std::function<absl::Status(const model::VerifyCounts&)> on_progress;
  // For each difference, in any order.
  std::function<void(model::Difference)> on_difference;
};

// At depth kExists or kKept; the counts at the end. Of a standby, damage is noted, and contents that nobody told are
// learned. NOT_FOUND: no such replica here; UNAVAILABLE: its folder can't be reached now (kKept; kExists calls it a
// difference).
[[nodiscard]] absl::StatusOr<model::VerifyCounts> VerifyReplica(CommitEngine& engine, DamageKeeper& damage,
                                                                const model::VolumeName& volume,
                                                                model::VerifyDepth depth,
                                                                const VerifyListener& listener);

struct ListRequest {
  model::VolumeName volume;
  bool with_digests = false;
  std::vector<std::string> paths;  // only these, with all acknowledged commits in them; empty: the whole tree, as found
};

// In key order, the root first (of `paths`: those that are there, in their order). An error of `visit` ends it.
// `on_progress` is called while a large file is read; its error ends it, too.
[[nodiscard]] absl::Status ListEntries(CommitEngine& engine, const ListRequest& request,
                                       const std::function<absl::Status(model::ListedEntry)>& visit,
                                       const std::function<absl::Status()>& on_progress);

}  // namespace understudy::dr
