// promoter.h: promotion, demotion and adoption of volumes as a whole: hooks, the durable state, the export.
//
// Every step is durable or may be done twice, so whatever ends a run (a crash, a hook, the caller), the same request
// made again goes on from there, and one for what is done already is fine. Nothing goes on by itself after a restart:
// only who runs the failover knows whether it still should.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/hooks/hook_runner.h"
#include "agent-dr/standby/export_port.h"
#include "core/base/status.h"
#include "core/model/hook.h"
#include "core/wire/standby_codec.h"

namespace understudy::dr {

// Who asked, and is told how far it is. Both may be nullptr; they are called by the thread of the call.
struct StandbyCaller {
  std::function<void(const std::string& step)> on_step{};
  std::function<void(const model::HookResult&)> on_hook{};
  // True: given up. Hooks end at once, and nothing begins any more; a promotion that has begun still becomes `active`,
  // a demotion `standby`.
  std::function<bool()> gone{};
};

// Thread-safe. One call at a time of each volume; another one is refused with FAILED_PRECONDITION.
class Promoter {
 public:
  // All outlive it.
  Promoter(CommitEngine& engine, ExportPort& exports, const HookRunner& hooks)
      : engine_(engine), exports_(exports), hooks_(hooks) {}

  // First a look whether it can be exported, then pre-promote hooks, `promoting` at the next epoch, export read-write,
  // `active`, post-promote hooks. NOT_FOUND: no such replica here. ABORTED: a hook failed, before anything was changed
  // or after the volume was active (the message says which). CANCELLED: given up, likewise. Other errors as of
  // Replica::BeginPromotion, HookRunner and ExportPort.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> Promote(const wire::PromoteRequest& request,
                                                            const StandbyCaller& caller);
  // pre-demote hooks, export read-only, `demoting`, `standby`, post-demote hooks. Errors likewise.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> Demote(const wire::DemoteRequest& request,
                                                           const StandbyCaller& caller);
  // The folder becomes a replica of the live copy at the other side (docs/promotion.md): export read-only, a standby
  // whose first state is what the folder holds. Where it was the live copy before, as Demote does it. Errors as of
  // CommitEngine::CheckAdoption and Demote. Of a volume that was made at the other side,
  // CommitEngine::MakeEmptyReplica.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> Adopt(const wire::AdoptRequest& request,
                                                          const StandbyCaller& caller);
  // As CommitEngine::LetGo; of a volume that was made here, after CommitEngine::RecordMadeHere.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> LetGo(const wire::LetGoRequest& request);
  // The hooks of one phase, for a failover's other steps. NOT_FOUND: the volume is named, and there is none.
  [[nodiscard]] absl::Status RunHooks(const wire::RunHooksRequest& request, const StandbyCaller& caller);

 private:
  class Turn;
  absl::StatusOr<model::ReplicaState> PromoteInTurn(const wire::PromoteRequest& request, const StandbyCaller& caller);
  absl::StatusOr<model::ReplicaState> DemoteInTurn(const wire::DemoteRequest& request, const StandbyCaller& caller);
  absl::StatusOr<model::ReplicaState> AdoptInTurn(const wire::AdoptRequest& request, const StandbyCaller& caller);
  absl::Status ExportReadOnly(const model::VolumeSpec& volume, const StandbyCaller& caller);
  absl::Status RunPhase(model::HookPhase phase, const model::ReplicaState& state, const std::string& run,
                        const StandbyCaller& caller) const;
  // The hooks that come last, once.
  absl::StatusOr<model::ReplicaState> FinishHooks(model::HookPhase phase, const model::ReplicaState& state,
                                                  const std::string& run, const StandbyCaller& caller);

  CommitEngine& engine_;
  ExportPort& exports_;
  const HookRunner& hooks_;
  absl::Mutex mutex_;
  std::set<model::VolumeName> busy_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::dr
