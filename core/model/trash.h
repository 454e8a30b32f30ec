// trash.h: a deleted volume whose replica DR still keeps. Values.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "core/model/volume.h"

namespace understudy::model {

// A volume that was deleted at the primary, as the primary knew its replica: no other one is meant.
struct DiscardedVolume {
  VolumeName volume;
  std::string replica_root;
  std::string replica_id;
  Epoch epoch = 0;  // a replica with a higher one was promoted since
};

// Moving and restoring are under way, or couldn't be finished yet; only what is trashed can be restored or purged.
enum class TrashState { kMoving, kTrashed, kRestoring, kPurging };
[[nodiscard]] std::string_view ToString(TrashState state);
[[nodiscard]] absl::StatusOr<TrashState> ParseTrashState(std::string_view text);

// The id of a replica: 32 lower-case hexadecimal digits. INVALID_ARGUMENT for anything else.
[[nodiscard]] absl::Status ValidateTrashId(std::string_view id);

struct TrashEntry {
  std::string id;  // the replica's
  VolumeName volume;
  std::string root;  // absolute, at DR, where the replica's folder was
  TrashState state = TrashState::kMoving;
  std::string reason;  // why it was deleted, for people
  absl::Time deleted_at;
  absl::Time expires_at;
  bool measured = false;    // whether the next two are known
  uint64_t size_bytes = 0;  // of the files' contents as they show; holes count
  uint64_t entry_count = 0;
};

}  // namespace understudy::model
