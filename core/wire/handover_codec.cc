#include "core/wire/handover_codec.h"

#include "core/wire/validate.h"
#include "understudy/v1/primary.pb.h"

namespace understudy::wire {
namespace {

absl::Status ValidatePathIfAny(const std::string& path) {
  return path.empty() ? absl::OkStatus() : ValidateReplicaRoot(path);
}

}  // namespace

absl::StatusOr<HandOverRequest> Parse(const v1::HandOverVolumeRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateLiveEpoch(message.epoch()));
  return HandOverRequest{message.volume(), message.epoch()};
}

absl::StatusOr<TakeUpRequest> Parse(const v1::TakeUpVolumeRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateLiveEpoch(message.epoch()));
  RETURN_IF_ERROR(ValidatePathIfAny(message.path()));
  RETURN_IF_ERROR(ValidatePathIfAny(message.replica_path()));
  return TakeUpRequest{message.volume(), message.path(), message.replica_path(), message.epoch()};
}

v1::HandOverVolumeRequest ToProto(const HandOverRequest& request) {
  v1::HandOverVolumeRequest message;
  message.set_volume(request.volume);
  message.set_epoch(request.epoch);
  return message;
}

v1::TakeUpVolumeRequest ToProto(const TakeUpRequest& request) {
  v1::TakeUpVolumeRequest message;
  message.set_volume(request.volume);
  message.set_path(request.path);
  message.set_replica_path(request.replica_path);
  message.set_epoch(request.epoch);
  return message;
}

}  // namespace understudy::wire
