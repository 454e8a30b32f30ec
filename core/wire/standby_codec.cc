#include "core/wire/standby_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/wire/limits.h"
#include "core/wire/parse_parts.h"
#include "core/wire/replication_codec.h"
#include "core/wire/validate.h"
#include "understudy/v1/standby.pb.h"

namespace understudy::wire {
namespace {

constexpr size_t kMaxHookNameBytes = 255;  // NAME_MAX

absl::Status ValidateRun(const std::string& run) {
  return ValidateText("the run's name", run, kMaxRunBytes);
}

}  // namespace

absl::StatusOr<PromoteRequest> Parse(const v1::PromoteRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateRun(message.run()));
  return PromoteRequest{message.volume(), message.allow_incomplete(), message.run()};
}

absl::StatusOr<DemoteRequest> Parse(const v1::DemoteRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateRun(message.run()));
  return DemoteRequest{message.volume(), message.run()};
}

absl::StatusOr<AdoptRequest> Parse(const v1::AdoptRequest& message) {
  AdoptRequest request{.volume = {message.volume(), message.root(), message.epoch()},
                       .run = message.run(),
                       .made_there = message.made_there()};
  RETURN_IF_ERROR(ValidateVolumeSpec(request.volume));
  RETURN_IF_ERROR(ValidateLiveEpoch(message.epoch()));
  RETURN_IF_ERROR(ValidateRun(message.run()));
  return request;
}

absl::StatusOr<LetGoRequest> Parse(const v1::LetGoRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateLiveEpoch(message.epoch()));
  if (!message.root().empty()) RETURN_IF_ERROR(ValidateReplicaRoot(message.root()));
  return LetGoRequest{message.volume(), message.epoch(), message.root()};
}

absl::StatusOr<RunHooksRequest> Parse(const v1::RunHooksRequest& message) {
  RunHooksRequest request;
  ASSIGN_OR_RETURN(request.phase, model::ParseHookPhase(message.phase()));
  if (!message.volume().empty()) RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateRun(message.run()));
  request.volume = message.volume();
  request.run = message.run();
  if (static_cast<size_t>(message.facts_size()) > kMaxHookFacts) {
    return absl::InvalidArgumentError(
        fmt::format("{} facts for hooks: at most {} are allowed", message.facts_size(), kMaxHookFacts));
  }
  for (const auto& [name, value] : message.facts()) {
    RETURN_IF_ERROR(ValidateText("a fact's name", name, kMaxHookFactBytes));
    RETURN_IF_ERROR(ValidateText("a fact", value, kMaxHookFactBytes));
    request.facts[name] = value;
  }
  return request;
}

absl::StatusOr<model::HookResult> Parse(const v1::HookResult& message) {
  model::HookResult result;
  ASSIGN_OR_RETURN(result.phase, model::ParseHookPhase(message.phase()));
  if (message.name().empty() || message.name().size() > kMaxHookNameBytes) {
    return absl::InvalidArgumentError("a hook's name of no or too many bytes");
  }
  if (message.output().size() > kMaxHookOutputBytes) return absl::InvalidArgumentError("too much output of a hook");
  if (message.ok() != message.problem().empty()) {
    return absl::InvalidArgumentError("a hook that failed without a reason, or the other way round");
  }
  result.name = message.name();
  result.optional = message.optional();
  result.problem = ToText(message.problem(), kMaxErrorMessageBytes);
  result.output = message.output();
  result.output_left_out_bytes = message.output_left_out_bytes();
  result.took = absl::Seconds(message.seconds());
  return result;
}

absl::StatusOr<StandbyProgress> Parse(const v1::StandbyProgress& message) {
  StandbyProgress progress;
  progress.step = ToText(message.step(), kMaxErrorMessageBytes);
  progress.done = message.done();
  if (message.has_hook()) {
    ASSIGN_OR_RETURN(progress.hook, Parse(message.hook()));
  }
  if (message.has_replica()) {
    ASSIGN_OR_RETURN(progress.replica, Parse(message.replica()));
  }
  return progress;
}

v1::PromoteRequest ToProto(const PromoteRequest& request) {
  v1::PromoteRequest message;
  message.set_volume(request.volume);
  message.set_allow_incomplete(request.allow_incomplete);
  message.set_run(request.run);
  return message;
}

v1::DemoteRequest ToProto(const DemoteRequest& request) {
  v1::DemoteRequest message;
  message.set_volume(request.volume);
  message.set_run(request.run);
  return message;
}

v1::AdoptRequest ToProto(const AdoptRequest& request) {
  v1::AdoptRequest message;
  message.set_volume(request.volume.name);
  message.set_root(request.volume.replica_root);
  message.set_epoch(request.volume.epoch);
  message.set_run(request.run);
  message.set_made_there(request.made_there);
  return message;
}

v1::LetGoRequest ToProto(const LetGoRequest& request) {
  v1::LetGoRequest message;
  message.set_volume(request.volume);
  message.set_epoch(request.epoch);
  message.set_root(request.root);
  return message;
}

v1::RunHooksRequest ToProto(const RunHooksRequest& request) {
  v1::RunHooksRequest message;
  message.set_phase(std::string(model::ToString(request.phase)));
  message.set_volume(request.volume);
  message.set_run(request.run);
  for (const auto& [name, value] : request.facts) (*message.mutable_facts())[name] = value;
  return message;
}

v1::HookResult ToProto(const model::HookResult& result) {
  v1::HookResult message;
  message.set_phase(std::string(model::ToString(result.phase)));
  message.set_name(ToText(result.name, kMaxHookNameBytes));
  message.set_ok(result.ok());
  message.set_optional(result.optional);
  message.set_problem(ToText(result.problem, kMaxErrorMessageBytes));
  const size_t left_out = result.output.size() - std::min(result.output.size(), kMaxHookOutputBytes);
  message.set_output(result.output.substr(left_out));
  message.set_output_left_out_bytes(result.output_left_out_bytes + left_out);
  message.set_seconds(absl::ToDoubleSeconds(result.took));
  return message;
}

v1::StandbyProgress ToProto(const StandbyProgress& progress) {
  v1::StandbyProgress message;
  message.set_step(ToText(progress.step, kMaxErrorMessageBytes));
  message.set_done(progress.done);
  if (progress.hook.has_value()) *message.mutable_hook() = ToProto(*progress.hook);
  if (progress.replica.has_value()) *message.mutable_replica() = ToProto(*progress.replica);
  return message;
}

}  // namespace understudy::wire
