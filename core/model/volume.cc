#include "core/model/volume.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "core/base/log.h"

namespace understudy::model {

absl::Status ValidateVolumeName(std::string_view name) {
  constexpr size_t kMaxVolumeNameBytes = 253;
  const auto allowed = [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; };
  if (name.empty() || name.size() > kMaxVolumeNameBytes || !absl::ascii_isalnum(name[0]) ||
      !std::all_of(name.begin(), name.end(), allowed)) {
    return absl::InvalidArgumentError(
        fmt::format("volume name '{}': use 1 to 253 letters, digits, '.', '_' or '-', beginning with a letter or digit",
                    Printable(name.substr(0, 300))));
  }
  return absl::OkStatus();
}

std::string_view ToString(VolumeState state) {
  switch (state) {
    case VolumeState::kStandby:
      return "standby";
    case VolumeState::kPromoting:
      return "promoting";
    case VolumeState::kActive:
      return "active";
    case VolumeState::kDemoting:
      return "demoting";
  }
  AbortOnBrokenInvariant("known VolumeState", __FILE__, __LINE__);
}

absl::StatusOr<VolumeState> ParseVolumeState(std::string_view text) {
  for (const VolumeState state :
       {VolumeState::kStandby, VolumeState::kPromoting, VolumeState::kActive, VolumeState::kDemoting}) {
    if (text == ToString(state)) return state;
  }
  return absl::InvalidArgumentError(fmt::format("unknown volume state '{}'", text));
}

}  // namespace understudy::model
