// remove_tree.h: takes a folder tree apart.
#pragma once

#include <stop_token>

#include "core/base/status.h"
#include "core/os/root.h"

namespace understudy::dr {

// Removes everything below `folder`, not `folder` itself; holds one path for each level. What vanishes meanwhile is
// fine. CANCELLED: stopped on the way; to be called again.
[[nodiscard]] absl::Status RemoveAllIn(const os::Root& folder, std::stop_token stop = {});

}  // namespace understudy::dr
