// agreeing_sink.h: a DR that agrees to everything but content, for tests of what the primary submits.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/replica_sink.h"

namespace understudy::primary {

// Takes whatever it gets, and keeps nothing of it but which commit was the newest.
class AgreeingSink : public model::ReplicaSink {
 public:
  absl::StatusOr<model::ReplicaState> Open(const model::VolumeSpec&) override {
    model::ReplicaState state;
    state.replica_id = "replica";
    state.sequence = sequence_;
    state.commit_id = commit_id_;
    return state;
  }
  absl::Status Submit(const model::Commit& commit) override {
    ++sequence_;
    commit_id_ = commit.id;
    return absl::OkStatus();
  }
  model::Sequence Published(const model::VolumeName&) override { return sequence_; }
  absl::Status Inventory(const model::VolumeName&, bool,
                         const std::function<absl::Status(model::InventoryEntry)>&) override {
    return absl::OkStatus();
  }
  absl::Status StageBegin(const model::VolumeName&, model::Slot, const std::string&, uint64_t,
                          const std::string&) override {
    return absl::UnimplementedError("no content here");
  }
  absl::StatusOr<std::vector<model::SegmentDigest>> StageResume(const model::VolumeName&, model::Slot,
                                                                const std::string&, uint64_t,
                                                                const std::string&) override {
    return absl::UnimplementedError("no content here");
  }
  absl::Status StageData(const model::VolumeName&, model::Slot, uint64_t, std::string_view) override {
    return absl::UnimplementedError("no content here");
  }
  absl::Status StageFiles(const model::VolumeName&, const model::StagedBatch&) override { return absl::OkStatus(); }
  absl::Status StageHole(const model::VolumeName&, model::Slot, uint64_t, uint64_t) override {
    return absl::UnimplementedError("no content here");
  }
  absl::Status StageDelta(const model::VolumeName&, model::Slot, const model::SegmentDelta&) override {
    return absl::UnimplementedError("no content here");
  }
  absl::Status StageEnd(const model::VolumeName&, model::Slot) override {
    return absl::UnimplementedError("no content here");
  }

  [[nodiscard]] model::Sequence sequence() const { return sequence_; }

 private:
  model::Sequence sequence_ = 0;
  std::string commit_id_;
};

}  // namespace understudy::primary
