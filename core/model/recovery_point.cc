#include "core/model/recovery_point.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "core/base/log.h"

namespace understudy::model {

absl::Status ValidatePointLabel(std::string_view label) {
  constexpr size_t kMostBytes = 100;
  const auto allowed = [](unsigned char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; };
  const bool digits_alone = std::all_of(label.begin(), label.end(), absl::ascii_isdigit);
  if (!digits_alone && label.size() <= kMostBytes && std::all_of(label.begin(), label.end(), allowed)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("label '{}': use 1 to {} letters, digits, dots, underscores and dashes, not digits alone",
                  Printable(label.substr(0, 2 * kMostBytes)), kMostBytes));
}

const RecoveryPoint* NewestWhole(const RecoveryPoints& points) {
  if (points.newest.completes_capture) return &points.newest;
  const RecoveryPoint* newest = nullptr;
  for (const RecoveryPoint& point : points.points) {
    if (!point.completes_capture) continue;
    if (newest == nullptr || point.sequence > newest->sequence) newest = &point;
  }
  return newest;
}

}  // namespace understudy::model
