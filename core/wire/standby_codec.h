// standby_codec.h: the messages of standby.proto to values and back, as in replication_codec.h. Pure; thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/base/status.h"
#include "core/model/hook.h"
#include "core/model/volume.h"

namespace understudy::v1 {
class AdoptRequest;
class DemoteRequest;
class HookResult;
class LetGoRequest;
class PromoteRequest;
class RunHooksRequest;
class StandbyProgress;
}  // namespace understudy::v1

namespace understudy::wire {

struct PromoteRequest {
  model::VolumeName volume{};
  bool allow_incomplete = false;
  std::string run{};
};

struct DemoteRequest {
  model::VolumeName volume{};
  std::string run{};
};

struct AdoptRequest {
  model::VolumeSpec volume{};  // the epoch is the live copy's, not 0
  std::string run{};
  bool made_there = false;  // at the other side: the folder here has to be empty
};

struct LetGoRequest {
  model::VolumeName volume{};
  model::Epoch epoch = 0;  // the volume's, not 0
  std::string root{};      // of one that was made here: its folder, absolute; empty: it has to be known
};

struct RunHooksRequest {
  model::HookPhase phase = model::HookPhase::kPreFence;
  model::VolumeName volume{};  // empty: of none
  std::string run{};
  std::map<std::string, std::string> facts{};
};

struct StandbyProgress {
  std::string step{};                       // what is done next; empty: see `hook`
  std::optional<model::HookResult> hook{};  // that ended
  bool done = false;
  std::optional<model::ReplicaState> replica{};  // with `done`
};

[[nodiscard]] absl::StatusOr<PromoteRequest> Parse(const v1::PromoteRequest& message);
[[nodiscard]] absl::StatusOr<DemoteRequest> Parse(const v1::DemoteRequest& message);
[[nodiscard]] absl::StatusOr<AdoptRequest> Parse(const v1::AdoptRequest& message);
[[nodiscard]] absl::StatusOr<LetGoRequest> Parse(const v1::LetGoRequest& message);
[[nodiscard]] absl::StatusOr<RunHooksRequest> Parse(const v1::RunHooksRequest& message);
[[nodiscard]] absl::StatusOr<model::HookResult> Parse(const v1::HookResult& message);
[[nodiscard]] absl::StatusOr<StandbyProgress> Parse(const v1::StandbyProgress& message);

[[nodiscard]] v1::PromoteRequest ToProto(const PromoteRequest& request);
[[nodiscard]] v1::DemoteRequest ToProto(const DemoteRequest& request);
[[nodiscard]] v1::AdoptRequest ToProto(const AdoptRequest& request);
[[nodiscard]] v1::LetGoRequest ToProto(const LetGoRequest& request);
[[nodiscard]] v1::RunHooksRequest ToProto(const RunHooksRequest& request);
[[nodiscard]] v1::HookResult ToProto(const model::HookResult& result);  // cuts overlong texts
[[nodiscard]] v1::StandbyProgress ToProto(const StandbyProgress& progress);

}  // namespace understudy::wire
