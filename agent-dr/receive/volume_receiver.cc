#include "agent-dr/receive/volume_receiver.h"

#include <utility>

#include "core/base/log.h"
#include "core/wire/messages.h"
#include "core/wire/replication_codec.h"
#include "core/wire/status_path.h"
#include "core/wire/verify_codec.h"

namespace understudy::dr {

absl::StatusOr<model::VolumeName> VolumeOf(const v1::ReplicateRequest& request) {
  const auto valid = [](const std::string& name) -> absl::StatusOr<model::VolumeName> {
    RETURN_IF_ERROR(model::ValidateVolumeName(name));
    return name;
  };
  switch (request.message_case()) {
    case v1::ReplicateRequest::kOpen:
      return valid(request.open().volume());
    case v1::ReplicateRequest::kStageBegin:
      return valid(request.stage_begin().volume());
    case v1::ReplicateRequest::kStageResume:
      return valid(request.stage_resume().volume());
    case v1::ReplicateRequest::kStageData:
      return valid(request.stage_data().volume());
    case v1::ReplicateRequest::kStageFiles:
      return valid(request.stage_files().volume());
    case v1::ReplicateRequest::kStageDelta:
      return valid(request.stage_delta().volume());
    case v1::ReplicateRequest::kStageEnd:
      return valid(request.stage_end().volume());
    case v1::ReplicateRequest::kCommit:
      return valid(request.commit().volume());
    case v1::ReplicateRequest::MESSAGE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a message of a kind that this program doesn't know");
}

void VolumeReceiver::Receive(const v1::ReplicateRequest& request) {
  if (request.has_open()) return Open(request.open());
  if (!session_.has_value()) return;
  const absl::Status taken = Take(request);
  if (!taken.ok()) Refuse(session_->State().volume, taken);
}

void VolumeReceiver::EndSession() {
  if (session_.has_value()) session_->ListenToDamage(nullptr);
  session_.reset();
}

void VolumeReceiver::Open(const v1::OpenVolume& message) {
  EndSession();
  peer_session_ = message.session();
  const absl::StatusOr<model::VolumeSpec> spec = wire::Parse(message);
  if (!spec.ok()) return Refuse(message.volume(), spec.status());
  absl::StatusOr<Session> session = engine_.Open(*spec);
  if (!session.ok()) return Refuse(spec->name, session.status());
  session_ = *std::move(session);
  v1::ReplicateResponse response;
  *response.mutable_opened() = wire::ToOpened(session_->State());
  response.mutable_opened()->set_session(peer_session_);
  answer_(response);
  session_->ListenToDamage([this, volume = spec->name](const model::DamagedFile& file) {
    v1::ReplicateResponse told;
    *told.mutable_damaged() = wire::ToProto(wire::Damaged{volume, file});
    tell_damage_(told);
  });
}

absl::Status VolumeReceiver::Take(const v1::ReplicateRequest& request) {
  ASSIGN_OR_RETURN(const model::Epoch epoch, wire::ParseEpoch(request));
  session_->SetEpoch(epoch);
  if (request.has_stage_data()) return TakeStaged(request.stage_data());
  if (request.has_stage_files()) {
    ASSIGN_OR_RETURN(const wire::StageFiles files, wire::Parse(request.stage_files()));
    return session_->StageFiles(files.batch);
  }
  if (request.has_commit()) return TakeCommit(request.commit());
  if (request.has_stage_begin()) {
    ASSIGN_OR_RETURN(const wire::StageBegin begin, wire::Parse(request.stage_begin()));
    return session_->StageBegin(begin.slot, begin.path, begin.size, begin.base_path);
  }
  if (request.has_stage_resume()) return TakeResume(request.stage_resume());
  if (request.has_stage_delta()) {
    ASSIGN_OR_RETURN(const wire::StageDelta delta, wire::Parse(request.stage_delta()));
    return session_->StageDelta(delta.slot, delta.delta);
  }
  ASSIGN_OR_RETURN(const wire::StageEnd end, wire::Parse(request.stage_end()));
  return session_->StageEnd(end.slot);
}

absl::Status VolumeReceiver::TakeResume(const v1::StageResume& message) {
  ASSIGN_OR_RETURN(const wire::StageBegin begin, wire::Parse(message));
  absl::StatusOr<std::vector<model::SegmentDigest>> segments =
      session_->StageResume(begin.slot, begin.path, begin.size, begin.base_path);
  if (!segments.ok() && !absl::IsNotFound(segments.status())) return segments.status();
  wire::StageResumed resumed{begin.volume, begin.slot, segments.ok(), {}};
  if (segments.ok()) resumed.segments = *std::move(segments);
  v1::ReplicateResponse response;
  *response.mutable_resumed() = wire::ToProto(resumed);
  response.mutable_resumed()->set_session(peer_session_);
  answer_(response);
  return absl::OkStatus();
}

absl::Status VolumeReceiver::TakeStaged(const v1::StageData& message) {
  ASSIGN_OR_RETURN(const wire::StageData data, wire::Parse(message));
  for (const wire::StageRange& range : data.ranges) {
    RETURN_IF_ERROR(range.data.empty() ? session_->StageHole(data.slot, range.offset, range.length)
                                       : session_->StageData(data.slot, range.offset, range.data));
  }
  return absl::OkStatus();
}

absl::Status VolumeReceiver::TakeCommit(const v1::Commit& message) {
  ASSIGN_OR_RETURN(model::Commit commit, wire::Parse(message));
  const model::VolumeName volume = commit.volume;
  const model::Sequence sequence = commit.sequence;
  RETURN_IF_ERROR(session_->SubmitDurable(std::move(commit)));
  v1::ReplicateResponse response;
  *response.mutable_acknowledged() = wire::ToProto(wire::Acknowledgement{volume, sequence});
  answer_(response);
  RETURN_IF_ERROR(session_->Publish());
  *response.mutable_published() = wire::ToProto(wire::Published{volume, sequence});
  answer_(response);
  return absl::OkStatus();
}

void VolumeReceiver::Refuse(const model::VolumeName& volume, const absl::Status& why) {
  EndSession();
  spdlog::warn("refused volume={}: {}", Printable(volume), MessageOf(why));
  v1::ReplicateResponse response;
  *response.mutable_refused() = wire::ToProto(wire::Refusal{volume, why, wire::PathOf(why)});
  response.mutable_refused()->set_session(peer_session_);
  answer_(response);
}

}  // namespace understudy::dr
