// point_tree.h: a kept state of a volume that was made a folder tree of its own at DR. Values.
#pragma once

#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "core/model/volume.h"

namespace understudy::model {

// Making and removing are under way, or couldn't be finished yet.
enum class PointTreeState { kMaking, kReady, kRemoving };
[[nodiscard]] std::string_view ToString(PointTreeState state);
[[nodiscard]] absl::StatusOr<PointTreeState> ParsePointTreeState(std::string_view text);

// 32 lower-case hexadecimal digits. INVALID_ARGUMENT for anything else.
[[nodiscard]] absl::Status ValidatePointTreeId(std::string_view id);

struct PointTree {
  std::string id;  // random
  VolumeName volume;
  Sequence sequence = 0;  // the state that it was made of
  std::string path;       // absolute, at DR; bytes
  bool writable = false;  // how it is to be exported
  PointTreeState state = PointTreeState::kMaking;
  absl::Time made_at;
};

}  // namespace understudy::model
