// object_guard.h: whether storage objects that are gone from the primary cluster may go from DR, too. A cluster that
// was wiped, can't be read, or is another one must not empty DR.
//
// What is counted is the objects of one kind that DR's catalog holds, compared with the most that it held within the
// last hour: so a mass deletion that is seen one by one is held like one that a list shows at once. While something is
// held back, it is compared with what there was before that: time alone releases nothing. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agent-primary/index/guard_record.h"
#include "core/base/status.h"
#include "core/model/object.h"

namespace understudy::primary {

// Held back is what would leave at least `min_objects` objects gone, and more than this part of them; at 1 nothing is.
struct ObjectGuardLimits {
  double max_delete_fraction = 0.5;
  uint64_t min_objects = 5;
};

// Of one kind.
struct ObjectLoss {
  uint64_t at_dr = 0;          // in DR's catalog, those that are gone from the cluster included
  uint64_t gone = 0;           // of them: what is held back already, and what is asked about
  bool list_is_empty = false;  // the newest list of the cluster held nothing of the kind
  uint64_t held_before = 0;    // while something is held back: ObjectHold::before, however long ago that was
};

struct ObjectHold {
  uint64_t before = 0;  // the most that there were
  uint64_t gone = 0;    // of them
  bool list_is_empty = false;
};

// nullopt: the deletion may happen. `counts` is brought up to `now_nanoseconds` (Unix time).
[[nodiscard]] std::optional<ObjectHold> JudgeLoss(const ObjectGuardLimits& limits, GuardRecord& counts,
                                                  const ObjectLoss& loss, int64_t now_nanoseconds);

// Of deletions of a kind: "objects:PersistentVolume".
[[nodiscard]] std::string GuardKindOf(model::ObjectKind kind);
// Of the cluster that can't be recognised.
inline constexpr char kClusterGuard[] = "cluster";
// Nothing for kClusterGuard and what is no such guard.
[[nodiscard]] std::optional<model::ObjectKind> ParseGuardKind(std::string_view guard_kind);

// For people: why, and what to do.
[[nodiscard]] std::string ReasonOf(model::ObjectKind kind, const ObjectHold& hold, const ObjectGuardLimits& limits);

// What CheckCluster makes of the cluster's uid: OK when it is `expected`. FAILED_PRECONDITION: another cluster.
// UNAVAILABLE: it couldn't be read. The messages say what was expected, and what to do.
[[nodiscard]] absl::Status JudgeCluster(const std::string& expected, const absl::StatusOr<std::string>& found);

}  // namespace understudy::primary
