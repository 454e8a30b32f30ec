#include "agent-dr/commit/state_change.h"

#include <fmt/format.h>

#include "absl/time/time.h"
#include "core/base/time_text.h"
#include "core/model/epoch.h"
#include "core/wire/status_fence.h"

namespace understudy::dr {
namespace {

using model::VolumeState;

std::optional<model::ReplicaState> Become(model::ReplicaState state, VolumeState next, int64_t now_nanoseconds) {
  state.state = next;
  state.state_since_nanoseconds = now_nanoseconds;
  return state;
}

absl::Status Misplaced(const model::ReplicaState& state, std::string_view step) {
  return absl::FailedPreconditionError(fmt::format("volume '{}' is {} here (epoch {}), {}", state.volume,
                                                   model::ToString(state.state), state.epoch, step));
}

absl::Status Fenced(const model::ReplicaState& state, const std::string& message) {
  return wire::WithFence(absl::FailedPreconditionError(message), state.epoch);
}

// Why nobody may replicate to what isn't a standby.
absl::Status NoStandby(const model::ReplicaState& state) {
  if (state.state == VolumeState::kDemoting) {
    return Fenced(state, fmt::format("volume '{0}' is being demoted at DR (epoch {1}), which isn't finished: `drctl "
                                     "volumes demote {0}` goes on with it",
                                     state.volume, state.epoch));
  }
  if (state.reprotected) {
    return Fenced(state,
                  fmt::format("volume '{0}' lives at DR (epoch {1}) and is replicated from there: this primary has "
                              "to hand it over, which `drctl volumes reprotect {0}` sees to",
                              state.volume, state.epoch));
  }
  return Fenced(
      state,
      fmt::format("volume '{0}' was promoted at DR (epoch {1}): the copy there is the live one, and nothing is "
                  "replicated to it. To go on with this primary's data: `drctl volumes demote {0}` (what was written "
                  "at DR is replaced, and stays a recovery point for a while). To keep what was written at DR: leave "
                  "it, stop the clients here, and turn replication round with `drctl volumes reprotect {0}`",
                  state.volume, state.epoch));
}

// Why a primary that knows no later epoch than `epoch` may not.
absl::Status EarlierEpoch(const model::ReplicaState& state, model::Epoch epoch) {
  return Fenced(state,
                fmt::format("volume '{0}' was promoted at DR, and has another primary since: this one comes with "
                            "epoch {1}, DR has {2}. Stop replicating it from here (`drctl volumes pause {0}`); "
                            "if this primary's data is to count after all, promote and demote the volume at DR "
                            "once more",
                            state.volume, epoch, state.epoch));
}

// Why what is in the midst of a capture isn't promoted, and what can be.
absl::Status MidstOfCapture(const model::ReplicaState& state) {
  std::string way_back = "no earlier state is kept that it had, so the primary would have to finish that capture";
  if (state.newest_whole) {
    const int64_t captured = state.newest_whole->captured_at_nanoseconds;
    way_back = fmt::format("`drctl points rewind {} {}` leads to the newest state that it had{}", state.volume,
                           state.newest_whole->sequence,
                           captured == 0 ? "" : fmt::format(", of {}", Rfc3339Seconds(absl::FromUnixNanos(captured))));
  }
  return absl::FailedPreconditionError(
      fmt::format("volume '{}' is in the midst of a capture at commit {}, a state that the primary never had: {} "
                  "(--incomplete promotes it as it is)",
                  state.volume, state.sequence, way_back));
}

}  // namespace

StateChange BeginPromotion(const model::ReplicaState& state, bool allow_incomplete, int64_t now_nanoseconds) {
  if (state.state == VolumeState::kPromoting || state.state == VolumeState::kActive) return std::nullopt;
  if (state.state == VolumeState::kDemoting) {
    return Misplaced(
        state, fmt::format("so it can't be promoted: `drctl volumes demote {}` finishes that first", state.volume));
  }
  const bool was_whole = state.complete || state.demoted_whole;
  if (!was_whole && !allow_incomplete) {
    return absl::FailedPreconditionError(fmt::format(
        "volume '{}' was never across as a whole, or not since it was demoted: what is here is a part of it "
        "(--incomplete promotes it all the same)",
        state.volume));
  }
  if (state.midst_of_capture && !allow_incomplete) return MidstOfCapture(state);
  std::optional<model::ReplicaState> next = Become(state, VolumeState::kPromoting, now_nanoseconds);
  ++next->epoch;
  next->held = false;
  next->complete = was_whole && !state.midst_of_capture;
  next->awaits_primary = false;
  next->demoted_whole = false;
  next->hooks_due = false;
  return next;
}

StateChange FinishPromotion(const model::ReplicaState& state, int64_t now_nanoseconds) {
  if (state.state == VolumeState::kActive) return std::nullopt;
  if (state.state != VolumeState::kPromoting) return Misplaced(state, "so there is no promotion to finish");
  std::optional<model::ReplicaState> next = Become(state, VolumeState::kActive, now_nanoseconds);
  next->hooks_due = true;
  return next;
}

StateChange BeginDemotion(const model::ReplicaState& state, int64_t now_nanoseconds) {
  if (state.state == VolumeState::kDemoting || state.state == VolumeState::kStandby) return std::nullopt;
  if (state.reprotected) {
    return Misplaced(state,
                     fmt::format("and replicated to the other side: it isn't demoted. To make the copy there the "
                                 "live one, promote it there, and then `drctl volumes reprotect {}`",
                                 state.volume));
  }
  std::optional<model::ReplicaState> next = Become(state, VolumeState::kDemoting, now_nanoseconds);
  next->hooks_due = false;
  return next;
}

StateChange FinishDemotion(const model::ReplicaState& state, int64_t now_nanoseconds) {
  if (state.state == VolumeState::kStandby) return std::nullopt;
  if (state.state != VolumeState::kDemoting) return Misplaced(state, "so there is no demotion to finish");
  std::optional<model::ReplicaState> next = Become(state, VolumeState::kStandby, now_nanoseconds);
  next->sequence += 2;
  next->published_sequence = next->sequence;
  next->commit_id.clear();
  next->complete = false;
  next->captured_at_nanoseconds = 0;
  next->awaits_primary = !IsAdopted(state);
  next->demoted_whole = next->awaits_primary && state.complete;
  next->hooks_due = true;
  return next;
}

StateChange LetGo(const model::ReplicaState& state, model::Epoch epoch) {
  if (state.state != VolumeState::kActive || state.epoch != epoch) {
    return Misplaced(state,
                     fmt::format("so it isn't let go for epoch {}: that is for what is active at that epoch", epoch));
  }
  if (state.reprotected) return std::nullopt;
  std::optional<model::ReplicaState> next = state;
  next->reprotected = true;
  return next;
}

StateChange BeginAdoption(const model::ReplicaState& state, model::Epoch epoch, int64_t now_nanoseconds) {
  const bool resumed = state.adopted_epoch == epoch && state.epoch == epoch;
  // Of what nobody ever promoted, a replica can only be one of that live copy.
  const bool never_promoted = epoch == model::kFirstEpoch && state.epoch == epoch;
  if (never_promoted && state.state == VolumeState::kStandby) return std::nullopt;
  if (resumed && (state.state == VolumeState::kDemoting || state.state == VolumeState::kStandby)) return std::nullopt;
  if (state.state == VolumeState::kStandby) {
    return Misplaced(state, "so it is a replica already, and stays as it is");
  }
  if (state.state == VolumeState::kDemoting) {
    return Misplaced(state, fmt::format("which `drctl volumes demote {}` has to finish first", state.volume));
  }
  if (epoch <= state.epoch) {
    return Misplaced(state, fmt::format("so it doesn't become a replica of a live copy of epoch {}", epoch));
  }
  std::optional<model::ReplicaState> next = Become(state, VolumeState::kDemoting, now_nanoseconds);
  next->epoch = epoch;
  next->adopted_epoch = epoch;
  next->hooks_due = false;
  next->reprotected = false;
  return next;
}

model::ReplicaState Adopted(const model::VolumeSpec& spec, int64_t now_nanoseconds) {
  model::ReplicaState state;
  state.volume = spec.name;
  state.root = spec.replica_root;
  state.epoch = state.adopted_epoch = spec.epoch;
  state.sequence = state.published_sequence = 2;  // as after a demotion of a replica that had nothing
  state.state_since_nanoseconds = now_nanoseconds;
  return state;
}

model::ReplicaState MadeHere(const model::VolumeSpec& spec, int64_t now_nanoseconds) {
  model::ReplicaState state;
  state.volume = spec.name;
  state.root = spec.replica_root;
  state.epoch = spec.epoch;
  state.state = VolumeState::kActive;
  state.complete = true;
  state.reprotected = true;
  state.state_since_nanoseconds = now_nanoseconds;
  return state;
}

bool IsMadeHere(const model::ReplicaState& state) {
  return state.state == VolumeState::kActive && state.reprotected && state.epoch == model::kFirstEpoch;
}

bool IsAdopted(const model::ReplicaState& state) {
  return state.adopted_epoch != 0 && state.adopted_epoch == state.epoch;
}

std::string AdoptionLabel(model::Epoch epoch) {
  return fmt::format("before-reprotect-{}", epoch);
}

absl::Status CheckPrimary(const model::ReplicaState& state, model::Epoch epoch) {
  if (state.state != VolumeState::kStandby) return NoStandby(state);
  if (state.held) {
    return absl::FailedPreconditionError(
        fmt::format("volume '{0}' was taken back to an earlier state at DR and is held there: `drctl volumes resume "
                    "{0}` lets the primary bring it up to date again",
                    state.volume));
  }
  const bool earlier = epoch != 0 && epoch < state.epoch;
  return earlier && !state.awaits_primary ? EarlierEpoch(state, epoch) : absl::OkStatus();
}

absl::Status CheckMessage(const model::ReplicaState& state, model::Epoch epoch) {
  if (state.state != VolumeState::kStandby) return NoStandby(state);
  return epoch < state.epoch ? EarlierEpoch(state, epoch) : absl::OkStatus();
}

}  // namespace understudy::dr
