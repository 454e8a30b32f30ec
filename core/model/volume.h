// volume.h: what a volume and its replica are to both halves of the data plane. Values; thread-safe as such.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/model/consistency.h"

namespace understudy::model {

using VolumeName = std::string;  // valid by ValidateVolumeName wherever it is held
using Sequence = uint64_t;       // of a commit; 0: none yet
using Epoch = uint64_t;          // rises with each promotion; 0 in a request: whatever DR has

// 1 to 253 of letters, digits, '.', '_', '-', beginning with a letter or digit: a PersistentVolume's name is one.
[[nodiscard]] absl::Status ValidateVolumeName(std::string_view name);

struct VolumeSpec {
  VolumeName name;
  std::string replica_root;  // absolute path at DR, bytes
  Epoch epoch = 0;
};

enum class VolumeState { kStandby, kPromoting, kActive, kDemoting };
[[nodiscard]] std::string_view ToString(VolumeState state);
[[nodiscard]] absl::StatusOr<VolumeState> ParseVolumeState(std::string_view text);

// A state that the primary really had.
struct WholeState {
  Sequence sequence = 0;                // of the commit that first made it
  int64_t captured_at_nanoseconds = 0;  // by the primary's clock; 0: not known
  Consistency consistency = Consistency::kUnknown;
  friend bool operator==(const WholeState&, const WholeState&) = default;
};

struct ReplicaState {
  VolumeName volume;
  std::string replica_id;  // random, made with the replica
  Epoch epoch = 0;
  Sequence sequence = 0;            // newest durable commit
  Sequence published_sequence = 0;  // newest commit that the folder shows
  std::string commit_id{};          // of the newest durable commit (Commit::id); empty: nobody's
  VolumeState state = VolumeState::kStandby;
  std::string root;                                 // absolute, at DR
  bool complete = false;                            // a whole capture was committed at least once
  int64_t captured_at_nanoseconds = 0;              // of the newest commit, by the primary's clock; 0: not known
  Consistency consistency = Consistency::kUnknown;  // of the state that the newest commit leads to
  // With complete: the newest commit is the midst of a capture that takes several, a state that the primary never had.
  bool midst_of_capture = false;
  std::optional<WholeState> newest_whole{};  // with midst_of_capture: the newest kept state that it had; nullopt: none
  int64_t state_since_nanoseconds = 0;       // by DR's clock; 0: not known
  // Demoted: the next primary that commits is taken, whatever epoch it comes with.
  bool awaits_primary = false;
  bool demoted_whole =
      false;               // with awaits_primary: as the live copy that it was it is whole, and no commit came since
  bool hooks_due = false;  // those after the newest promotion or demotion haven't all succeeded
  // Taken back to an earlier state on purpose: no primary's session begins until that is ended.
  bool held = false;
  // Active, and replicated to the other side by this host's primary: it is no replica before it is adopted as one.
  bool reprotected = false;
  // The epoch at whose live copy's side it was last adopted as a replica; 0: never.
  Epoch adopted_epoch = 0;
  // Paths of contents that an earlier session staged in part and never committed (ReplicaSink::StageResume). Told by an
  // opening only.
  std::vector<std::string> leftovers{};
};

}  // namespace understudy::model
