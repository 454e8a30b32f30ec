// points_view.h: how recovery points and the trees that were made of some are shown and named. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/commands/output.h"
#include "core/base/status.h"
#include "core/model/recovery_point.h"

namespace understudy::control {

// When the primary was as the state is, as far as is known: captured there, else committed at DR; UnixEpoch: not known.
[[nodiscard]] absl::Time TimeOf(const model::RecoveryPoint& point);

// In milliseconds, rounded up: given as a time, what is shown names the state itself (StateOf).
[[nodiscard]] std::string TimeText(absl::Time time);

// Newest first by TimeOf.
void SortByTime(std::vector<model::RecoveryPoint>& points);

// The state that `text` names: a sequence, a label, or an RFC 3339 time, at which the newest whole one from before it
// is meant. NOT_FOUND: it isn't kept. INVALID_ARGUMENT: a time that doesn't say its zone, or no time.
[[nodiscard]] absl::StatusOr<model::RecoveryPoint> StateOf(const std::string& volume,
                                                           const model::RecoveryPoints& points,
                                                           const std::string& text);

// The stable shapes (docs/reference/drctl.md).
[[nodiscard]] Document ToDocument(const model::RecoveryPoint& point);
[[nodiscard]] Document ToDocument(const model::PointTree& tree);

// All states by time, the one that the replica shows among them, and the trees.
[[nodiscard]] std::string ListingText(const model::RecoveryPoints& points);

}  // namespace understudy::control
