#include "agent-dr/standby/promoter.h"

#include <fmt/format.h>

#include <utility>

#include "agent-dr/commit/state_change.h"
#include "core/base/log.h"
#include "nlohmann/json.hpp"

namespace understudy::dr {
namespace {

using model::HookPhase;
using model::VolumeState;

void Tell(const StandbyCaller& caller, const std::string& step) {
  if (caller.on_step != nullptr) caller.on_step(step);
}

// What hooks read on stdin (docs/hooks.md).
std::string InputOf(HookPhase phase, const model::ReplicaState* state, const std::string& run,
                    const std::map<std::string, std::string>& facts) {
  nlohmann::ordered_json input = {{"phase", std::string(model::ToString(phase))}, {"run", run}, {"volume", nullptr}};
  if (state != nullptr) {
    input["volume"] = {{"name", state->volume},       {"state", std::string(model::ToString(state->state))},
                       {"epoch", state->epoch},       {"sequence", state->sequence},
                       {"complete", state->complete}, {"replica_path", Printable(state->root)}};
  }
  input["facts"] = facts;
  return input.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

// The right to change one volume's state, as long as it lives.
class Promoter::Turn {
 public:
  static absl::StatusOr<Turn> Take(Promoter& promoter, const model::VolumeName& volume) {
    absl::MutexLock lock(&promoter.mutex_);
    if (promoter.busy_.insert(volume).second) return Turn(promoter, volume);
    return absl::FailedPreconditionError(
        fmt::format("volume '{}' is being promoted or demoted by another call: wait until that has ended", volume));
  }
  Turn(Turn&& other) noexcept : promoter_(std::exchange(other.promoter_, nullptr)), volume_(std::move(other.volume_)) {}
  Turn& operator=(Turn&&) = delete;
  ~Turn() {
    if (promoter_ == nullptr) return;
    absl::MutexLock lock(&promoter_->mutex_);
    promoter_->busy_.erase(volume_);
  }

 private:
  Turn(Promoter& promoter, model::VolumeName volume) : promoter_(&promoter), volume_(std::move(volume)) {}
  Promoter* promoter_;
  model::VolumeName volume_;
};

absl::Status Promoter::RunPhase(HookPhase phase, const model::ReplicaState& state, const std::string& run,
                                const StandbyCaller& caller) const {
  Tell(caller, fmt::format("{} hooks", model::ToString(phase)));
  return hooks_.Run({.phase = phase,
                     .volume = state.volume,
                     .input = InputOf(phase, &state, run, {}),
                     .cancelled = caller.gone,
                     .on_result = caller.on_hook});
}

absl::StatusOr<model::ReplicaState> Promoter::FinishHooks(HookPhase phase, const model::ReplicaState& state,
                                                          const std::string& run, const StandbyCaller& caller) {
  if (!state.hooks_due) return state;
  const absl::Status ran = RunPhase(phase, state, run, caller);
  if (!ran.ok()) {
    return Annotate(ran, fmt::format("volume '{}' is {} now, but not all {} hooks have run (the same command runs them "
                                     "again)",
                                     state.volume, model::ToString(state.state), model::ToString(phase)));
  }
  RETURN_IF_ERROR(engine_.SetHooksRun(state.volume));
  return engine_.State(state.volume);
}

absl::StatusOr<model::ReplicaState> Promoter::Promote(const wire::PromoteRequest& request,
                                                      const StandbyCaller& caller) {
  ASSIGN_OR_RETURN(const Turn turn, Turn::Take(*this, request.volume));
  return PromoteInTurn(request, caller);
}

absl::StatusOr<model::ReplicaState> Promoter::PromoteInTurn(const wire::PromoteRequest& request,
                                                            const StandbyCaller& caller) {
  ASSIGN_OR_RETURN(model::ReplicaState state, engine_.State(request.volume));
  // Before any hook runs.
  RETURN_IF_ERROR(BeginPromotion(state, request.allow_incomplete, 0).status());
  if (state.state == VolumeState::kStandby) {
    const absl::Status exportable = exports_.CheckExport(state.volume, state.root);
    if (!exportable.ok()) {
      return Annotate(exportable,
                      fmt::format("volume '{}' wasn't promoted: it couldn't be exported read-write", request.volume));
    }
    const absl::Status ran = RunPhase(HookPhase::kPrePromote, state, request.run, caller);
    if (!ran.ok()) return Annotate(ran, fmt::format("volume '{}' wasn't promoted", request.volume));
    Tell(caller, fmt::format("epoch {}: no primary writes any more", state.epoch + 1));
    absl::StatusOr<model::ReplicaState> begun =
        engine_.BeginPromotion(request.volume, request.allow_incomplete, caller.gone);
    if (!begun.ok()) return Annotate(begun.status(), fmt::format("volume '{}' wasn't promoted", request.volume));
    state = *std::move(begun);
  }
  Tell(caller, "export read-write");
  const absl::Status exported = exports_.SetExport(state.volume, state.root, model::ExportMode::kReadWrite);
  if (!exported.ok()) return Annotate(exported, fmt::format("export volume '{}' read-write", request.volume));
  ASSIGN_OR_RETURN(state, engine_.FinishPromotion(request.volume));
  return FinishHooks(HookPhase::kPostPromote, state, request.run, caller);
}

absl::StatusOr<model::ReplicaState> Promoter::Demote(const wire::DemoteRequest& request, const StandbyCaller& caller) {
  ASSIGN_OR_RETURN(const Turn turn, Turn::Take(*this, request.volume));
  return DemoteInTurn(request, caller);
}

absl::StatusOr<model::ReplicaState> Promoter::DemoteInTurn(const wire::DemoteRequest& request,
                                                           const StandbyCaller& caller) {
  ASSIGN_OR_RETURN(model::ReplicaState state, engine_.State(request.volume));
  if (state.state == VolumeState::kStandby) return FinishHooks(HookPhase::kPostDemote, state, request.run, caller);
  // Before any hook runs.
  RETURN_IF_ERROR(BeginDemotion(state, 0).status());
  if (state.state != VolumeState::kDemoting) {
    const absl::Status ran = RunPhase(HookPhase::kPreDemote, state, request.run, caller);
    if (!ran.ok()) return Annotate(ran, fmt::format("volume '{}' wasn't demoted", request.volume));
  }
  // First, as nobody can have it exported read-write from here on.
  ASSIGN_OR_RETURN(state, engine_.BeginDemotion(request.volume, caller.gone));
  Tell(caller, "export read-only");
  const absl::Status exported = exports_.SetExport(state.volume, state.root, model::ExportMode::kReadOnly);
  if (!exported.ok()) return Annotate(exported, fmt::format("export volume '{}' read-only", request.volume));
  Tell(caller, "what was written is made durable");
  ASSIGN_OR_RETURN(state, engine_.FinishDemotion(request.volume));
  return FinishHooks(HookPhase::kPostDemote, state, request.run, caller);
}

absl::StatusOr<model::ReplicaState> Promoter::Adopt(const wire::AdoptRequest& request, const StandbyCaller& caller) {
  ASSIGN_OR_RETURN(const Turn turn, Turn::Take(*this, request.volume.name));
  return AdoptInTurn(request, caller);
}

absl::Status Promoter::ExportReadOnly(const model::VolumeSpec& volume, const StandbyCaller& caller) {
  Tell(caller, "export read-only");
  return Annotate(exports_.SetExport(volume.name, volume.replica_root, model::ExportMode::kReadOnly),
                  fmt::format("export volume '{}' read-only", volume.name));
}

absl::StatusOr<model::ReplicaState> Promoter::AdoptInTurn(const wire::AdoptRequest& request,
                                                          const StandbyCaller& caller) {
  const model::VolumeSpec& volume = request.volume;
  if (request.made_there) return engine_.MakeEmptyReplica(volume);
  RETURN_IF_ERROR(engine_.CheckAdoption(volume));
  absl::StatusOr<model::ReplicaState> state = engine_.State(volume.name);
  if (absl::IsNotFound(state.status())) {
    RETURN_IF_ERROR(ExportReadOnly(volume, caller));
    Tell(caller, "what is there becomes a recovery point");
    return engine_.AdoptFolder(volume);
  }
  RETURN_IF_ERROR(state.status());
  if (state->state == VolumeState::kActive || state->state == VolumeState::kPromoting) {
    const absl::Status ran = RunPhase(HookPhase::kPreDemote, *state, request.run, caller);
    if (!ran.ok()) return Annotate(ran, fmt::format("volume '{}' stays as it is", volume.name));
  }
  // First, as nobody can have it exported read-write from here on.
  ASSIGN_OR_RETURN(state, engine_.BeginAdoption(volume));
  RETURN_IF_ERROR(ExportReadOnly(volume, caller));
  if (state->state == VolumeState::kDemoting) {
    Tell(caller, "what was written becomes a recovery point");
    ASSIGN_OR_RETURN(state, engine_.FinishDemotion(volume.name));
  }
  return FinishHooks(HookPhase::kPostDemote, *state, request.run, caller);
}

absl::StatusOr<model::ReplicaState> Promoter::LetGo(const wire::LetGoRequest& request) {
  ASSIGN_OR_RETURN(const Turn turn, Turn::Take(*this, request.volume));
  if (!request.root.empty()) {
    RETURN_IF_ERROR(engine_.RecordMadeHere({request.volume, request.root, request.epoch}));
  }
  return engine_.LetGo(request.volume, request.epoch);
}

absl::Status Promoter::RunHooks(const wire::RunHooksRequest& request, const StandbyCaller& caller) {
  model::ReplicaState state;
  const bool has_volume = !request.volume.empty();
  if (has_volume) {
    ASSIGN_OR_RETURN(state, engine_.State(request.volume));
  }
  Tell(caller, fmt::format("{} hooks", model::ToString(request.phase)));
  return hooks_.Run({.phase = request.phase,
                     .volume = request.volume,
                     .input = InputOf(request.phase, has_volume ? &state : nullptr, request.run, request.facts),
                     .cancelled = caller.gone,
                     .on_result = caller.on_hook});
}

}  // namespace understudy::dr
