// source_error.h: tells errors of the volume's own files, and of copies of them, from those of the index and of the way
// to DR.
#pragma once

#include "absl/strings/cord.h"
#include "core/base/status.h"

namespace understudy::primary {

inline constexpr absl::string_view kSourcePayload = "understudy/source";

[[nodiscard]] inline absl::Status OfSource(absl::Status status) {
  if (!status.ok()) status.SetPayload(kSourcePayload, absl::Cord("1"));
  return status;
}

template <typename T>
[[nodiscard]] absl::StatusOr<T> OfSource(absl::StatusOr<T> result) {
  if (result.ok()) return result;
  return OfSource(result.status());
}

// Whether the volume's file was what failed (it can't be read).
[[nodiscard]] inline bool IsOfSource(const absl::Status& status) {
  return status.GetPayload(kSourcePayload).has_value();
}

// What failed for a copy of a file (its base, or the file frozen) needn't for the file itself.
inline constexpr absl::string_view kCopyPayload = "understudy/copy";

[[nodiscard]] inline absl::Status OfCopy(absl::Status status) {
  status.ErasePayload(kSourcePayload);
  status.SetPayload(kCopyPayload, absl::Cord("1"));
  return status;
}
[[nodiscard]] inline bool IsOfCopy(const absl::Status& status) {
  return status.GetPayload(kCopyPayload).has_value();
}

}  // namespace understudy::primary
