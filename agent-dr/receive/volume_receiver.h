// volume_receiver.h: one volume's part of a Replicate stream: messages in, effects on the commit engine, answers out.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "agent-dr/commit/commit_engine.h"
#include "core/base/status.h"
#include "core/model/volume.h"
#include "understudy/v1/replication.pb.h"

namespace understudy::dr {

// Takes the volume's messages in the stream's order. After a refusal it passes over them in silence until the volume
// is opened again. One thread at a time.
class VolumeReceiver {
 public:
  // `answer` sends to the primary; it may block, and drops what is said after the stream's end. `tell_damage` does so
  // without blocking, when it can (DamageTeller). `engine` outlives it.
  using Send = std::function<void(const v1::ReplicateResponse&)>;
  VolumeReceiver(CommitEngine& engine, Send answer, Send tell_damage)
      : engine_(engine), answer_(std::move(answer)), tell_damage_(std::move(tell_damage)) {}
  ~VolumeReceiver() { EndSession(); }
  VolumeReceiver(const VolumeReceiver&) = delete;
  VolumeReceiver& operator=(const VolumeReceiver&) = delete;

  void Receive(const v1::ReplicateRequest& request);

 private:
  void Open(const v1::OpenVolume& message);
  // One message of an open volume; an error is the reason for its refusal.
  absl::Status Take(const v1::ReplicateRequest& request);
  absl::Status TakeStaged(const v1::StageData& message);
  absl::Status TakeResume(const v1::StageResume& message);
  absl::Status TakeCommit(const v1::Commit& message);
  void EndSession();
  void Refuse(const model::VolumeName& volume, const absl::Status& why);

  CommitEngine& engine_;
  const Send answer_;
  const Send tell_damage_;
  std::optional<Session> session_;  // nullopt: not open
  uint64_t peer_session_ = 0;       // the primary's number of the newest opening
};

// The volume that a request is about. INVALID_ARGUMENT: none, or no valid name.
[[nodiscard]] absl::StatusOr<model::VolumeName> VolumeOf(const v1::ReplicateRequest& request);

}  // namespace understudy::dr
