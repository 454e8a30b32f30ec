// state_change.h: the state machine of a replica: standby -> promoting -> active -> demoting -> standby, and which
// primary may write to it in which state. Pure.
//
// Each step gives what the replica's state becomes; nullopt when it was taken before, so that whatever was cut short
// may be asked for again.
#pragma once

#include <cstdint>
#include <optional>

#include "core/base/status.h"
#include "core/model/volume.h"

namespace understudy::dr {

using StateChange = absl::StatusOr<std::optional<model::ReplicaState>>;

// To `promoting`, at the next epoch. FAILED_PRECONDITION: it is being demoted; or it was never across as a whole,
// unless `allow_incomplete`.
[[nodiscard]] StateChange BeginPromotion(const model::ReplicaState& state, bool allow_incomplete,
                                         int64_t now_nanoseconds);
// To `active`. FAILED_PRECONDITION: it isn't being promoted.
[[nodiscard]] StateChange FinishPromotion(const model::ReplicaState& state, int64_t now_nanoseconds);
// To `demoting`. A standby is fine.
[[nodiscard]] StateChange BeginDemotion(const model::ReplicaState& state, int64_t now_nanoseconds);
// To `standby`. Nobody knows what clients made of the folder, so it becomes a state that no primary's index can hold: a
// number is left out, as by a rewind, and no primary's commit has made it. The next primary compares; which one that is
// was a person's decision, so its epoch doesn't count until it has committed. Until then it may be promoted again as it
// is, if it was whole before. FAILED_PRECONDITION: it isn't being demoted.
[[nodiscard]] StateChange FinishDemotion(const model::ReplicaState& state, int64_t now_nanoseconds);

// Whether a primary that claims `epoch` (0: whatever there is) may open the volume. FAILED_PRECONDITION with a fence
// (core/wire/status_fence.h) and what to do: DR was promoted.
[[nodiscard]] absl::Status CheckPrimary(const model::ReplicaState& state, model::Epoch epoch);
// The same for a message of a session, whose epoch is the one that its opening was answered with.
[[nodiscard]] absl::Status CheckMessage(const model::ReplicaState& state, model::Epoch epoch);

}  // namespace understudy::dr
