#include <fmt/format.h>

#include "agent-dr/commit/commit_engine.h"

namespace understudy::dr {

absl::StatusOr<model::ReplicaState> LocalSink::Open(const model::VolumeSpec& spec) {
  ASSIGN_OR_RETURN(const Session session, engine_.Open(spec));
  absl::MutexLock lock(&mutex_);
  sessions_[spec.name] = session;
  return session.State();
}

absl::StatusOr<Session> LocalSink::Find(const model::VolumeName& volume) const {
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(volume);
  if (found == sessions_.end()) {
    return absl::FailedPreconditionError(fmt::format("volume '{}' wasn't opened", volume));
  }
  return found->second;
}

absl::Status LocalSink::StageBegin(const model::VolumeName& volume, model::Slot slot, const std::string& path,
                                   uint64_t size, const std::string& base_path) {
  ASSIGN_OR_RETURN(Session session, Find(volume));
  return session.StageBegin(slot, path, size, base_path);
}

absl::StatusOr<std::vector<model::SegmentDigest>> LocalSink::StageResume(const model::VolumeName& volume,
                                                                         model::Slot slot, const std::string& path,
                                                                         uint64_t size, const std::string& base_path) {
  ASSIGN_OR_RETURN(Session session, Find(volume));
  return session.StageResume(slot, path, size, base_path);
}

absl::Status LocalSink::StageData(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                                  std::string_view data) {
  ASSIGN_OR_RETURN(Session session, Find(volume));
  return session.StageData(slot, offset, data);
}

absl::Status LocalSink::StageHole(const model::VolumeName& volume, model::Slot slot, uint64_t offset, uint64_t length) {
  ASSIGN_OR_RETURN(Session session, Find(volume));
  return session.StageHole(slot, offset, length);
}

absl::Status LocalSink::StageDelta(const model::VolumeName& volume, model::Slot slot,
                                   const model::SegmentDelta& delta) {
  ASSIGN_OR_RETURN(Session session, Find(volume));
  return session.StageDelta(slot, delta);
}

absl::Status LocalSink::StageEnd(const model::VolumeName& volume, model::Slot slot) {
  ASSIGN_OR_RETURN(Session session, Find(volume));
  return session.StageEnd(slot);
}

absl::Status LocalSink::StageFiles(const model::VolumeName& volume, const model::StagedBatch& batch) {
  ASSIGN_OR_RETURN(Session session, Find(volume));
  return session.StageFiles(batch);
}

absl::Status LocalSink::Submit(const model::Commit& commit) {
  ASSIGN_OR_RETURN(Session session, Find(commit.volume));
  RETURN_IF_ERROR(session.SubmitDurable(commit));
  session.Publish().IgnoreError();  // kept by the replica, and said by the next call
  return absl::OkStatus();
}

model::Sequence LocalSink::Published(const model::VolumeName& volume) {
  const absl::StatusOr<model::ReplicaState> state = engine_.State(volume);
  return state.ok() ? state->published_sequence : 0;
}

absl::Status LocalSink::Inventory(const model::VolumeName& volume, bool with_digests,
                                  const std::function<absl::Status(model::InventoryEntry)>& visit) {
  return engine_.Inventory(volume, with_digests, visit);
}

}  // namespace understudy::dr
