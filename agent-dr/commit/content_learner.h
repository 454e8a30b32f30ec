// content_learner.h: takes contents that were read from DR's disk for what they should be, where nothing else is known.
//
// Only of a standby, whose files nobody but the agent writes to; of any other replica nothing is learned.
#pragma once

#include <vector>

#include "agent-dr/commit/content_table.h"
#include "core/os/stat.h"

namespace understudy::dr {

// What is added is written with Flush at the latest. `state` is the replica's while the contents were read, and stays
// so until Flush.
class ContentLearner {
 public:
  ContentLearner(ContentTable contents, const model::ReplicaState& state)
      : contents_(contents), standby_(state.state == model::VolumeState::kStandby), sequence_(state.sequence) {}

  absl::Status Add(const os::EntryStat& stat, const model::Digest& digest) {
    if (!standby_) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::optional<KeptContent> kept, contents_.Find(IdentityOf(stat)));
    if (kept.has_value() && kept->digest.has_value()) return absl::OkStatus();
    learned_.push_back({.identity = IdentityOf(stat), .size = stat.size, .digest = digest, .sequence = sequence_});
    return learned_.size() < kBatch ? absl::OkStatus() : Flush();
  }
  absl::Status Flush() {
    const absl::Status written = contents_.Learn(learned_);
    learned_.clear();
    return written;
  }

 private:
  static constexpr size_t kBatch = 4096;
  ContentTable contents_;
  const bool standby_;
  const model::Sequence sequence_;
  std::vector<KeptContent> learned_;
};

}  // namespace understudy::dr
