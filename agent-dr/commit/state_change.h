// state_change.h: the state machine of a replica: standby -> promoting -> active -> demoting -> standby, and which
// primary may write to it in which state. Pure.
//
// Each step gives what the replica's state becomes; nullopt when it was taken before, so that whatever was cut short
// may be asked for again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/status.h"
#include "core/model/volume.h"

namespace understudy::dr {

using StateChange = absl::StatusOr<std::optional<model::ReplicaState>>;

// To `promoting`, at the next epoch. FAILED_PRECONDITION: it is being demoted; or, unless `allow_incomplete`, it was
// never across as a whole, or is in the midst of a capture.
[[nodiscard]] StateChange BeginPromotion(const model::ReplicaState& state, bool allow_incomplete,
                                         int64_t now_nanoseconds);
// To `active`. FAILED_PRECONDITION: it isn't being promoted.
[[nodiscard]] StateChange FinishPromotion(const model::ReplicaState& state, int64_t now_nanoseconds);
// To `demoting`. A standby is fine. FAILED_PRECONDITION: it was let go.
[[nodiscard]] StateChange BeginDemotion(const model::ReplicaState& state, int64_t now_nanoseconds);
// To `standby`. Nobody knows what clients made of the folder, so it becomes a state that no primary's index can hold: a
// number is left out, as by a rewind, and no primary's commit has made it. The next primary compares; which one that is
// was a person's decision, so its epoch doesn't count until it has committed. Until then it may be promoted again as it
// is, if it was whole before. FAILED_PRECONDITION: it isn't being demoted. Of an adoption, the next primary is known:
// one of an earlier epoch isn't taken; and what it has isn't the live copy's, so it isn't whole.
[[nodiscard]] StateChange FinishDemotion(const model::ReplicaState& state, int64_t now_nanoseconds);

// An active volume belongs to the primary of its own host from now on, which replicates it to the other side.
// FAILED_PRECONDITION: it isn't active at `epoch`.
[[nodiscard]] StateChange LetGo(const model::ReplicaState& state, model::Epoch epoch);
// What is here becomes a replica of the live copy at the other side, which has the epoch `epoch`: to `demoting`, at
// that epoch; FinishDemotion ends it. A standby at the first epoch is a replica of that already. FAILED_PRECONDITION:
// what is here is as new as that, a standby or being changed.
[[nodiscard]] StateChange BeginAdoption(const model::ReplicaState& state, model::Epoch epoch, int64_t now_nanoseconds);
// A replica that begins with a folder that was none.
[[nodiscard]] model::ReplicaState Adopted(const model::VolumeSpec& spec, int64_t now_nanoseconds);
// A live copy that was made at this side, and belongs to this host's primary as after LetGo.
[[nodiscard]] model::ReplicaState MadeHere(const model::VolumeSpec& spec, int64_t now_nanoseconds);
// Whether it is one still.
[[nodiscard]] bool IsMadeHere(const model::ReplicaState& state);
// Whether it is, or was last made, a replica by an adoption.
[[nodiscard]] bool IsAdopted(const model::ReplicaState& state);
// The label of what was there before an adoption for that epoch.
[[nodiscard]] std::string AdoptionLabel(model::Epoch epoch);

// Whether a primary that claims `epoch` (0: whatever there is) may open the volume. FAILED_PRECONDITION with a fence
// (core/wire/status_fence.h) and what to do: DR was promoted.
[[nodiscard]] absl::Status CheckPrimary(const model::ReplicaState& state, model::Epoch epoch);
// The same for a message of a session, whose epoch is the one that its opening was answered with.
[[nodiscard]] absl::Status CheckMessage(const model::ReplicaState& state, model::Epoch epoch);

}  // namespace understudy::dr
