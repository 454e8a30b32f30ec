// recovery_point.h: the kept states of a replica, as they are told. Values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "core/model/consistency.h"
#include "core/model/point_tree.h"
#include "core/model/volume.h"

namespace understudy::model {

// 1 to 100 of letters, digits, '.', '_', '-', not digits alone, which name a sequence. INVALID_ARGUMENT for anything
// else.
[[nodiscard]] absl::Status ValidatePointLabel(std::string_view label);

struct RecoveryPoint {
  Sequence sequence = 0;           // of the commit that first made the state; 0: before any commit
  absl::Time committed_at;         // by DR's clock; UnixEpoch: not known
  absl::Time captured_at;          // by the primary's clock; UnixEpoch: not told
  bool completes_capture = false;  // false: the midst of a capture that took several commits
  uint64_t held_bytes = 0;         // that are kept for it alone
  std::string label;               // empty: none
  bool pinned = false;
  Consistency consistency = Consistency::kUnknown;
};

struct RecoveryPoints {
  RecoveryPoint newest;               // the state that the replica shows
  std::vector<RecoveryPoint> points;  // those of the newest undo records first; after a rewind, not by time
  std::vector<PointTree> trees;
  bool held = false;  // taken back, and not released since
};

// The newest state that completes a capture: what the replica shows if that does, else what was made last of those that
// do, by its commit: a clock may be set. nullptr: there is none. Points into `points`.
[[nodiscard]] const RecoveryPoint* NewestWhole(const RecoveryPoints& points);

}  // namespace understudy::model
