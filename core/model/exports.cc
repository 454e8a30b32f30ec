#include "core/model/exports.h"

#include <fmt/format.h>

#include "core/base/log.h"

namespace understudy::model {

std::string_view ToString(ExportMode mode) {
  switch (mode) {
    case ExportMode::kNone:
      return "none";
    case ExportMode::kReadOnly:
      return "ro";
    case ExportMode::kReadWrite:
      return "rw";
  }
  AbortOnBrokenInvariant("known ExportMode", __FILE__, __LINE__);
}

absl::StatusOr<ExportMode> ParseExportMode(std::string_view text) {
  constexpr size_t kMaxShownBytes = 32;
  for (const ExportMode mode : {ExportMode::kNone, ExportMode::kReadOnly, ExportMode::kReadWrite}) {
    if (text == ToString(mode)) return mode;
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}' is no way to export a volume: use ro, rw or none", Printable(text.substr(0, kMaxShownBytes))));
}

}  // namespace understudy::model
