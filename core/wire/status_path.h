// status_path.h: the volume's file that an error is about travels with the error, so that the other side can do
// something about that file. Pure.
#pragma once

#include <string>
#include <string_view>

#include "core/base/status.h"

namespace understudy::wire {

// The same error, about `path` (relative to the volume's root).
[[nodiscard]] absl::Status WithPath(absl::Status status, std::string_view path);
// Empty when the error is about no file. Annotate() drops it: take it before, or annotate before WithPath.
[[nodiscard]] std::string PathOf(const absl::Status& status);

}  // namespace understudy::wire
