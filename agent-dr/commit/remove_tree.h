// remove_tree.h: takes a folder tree apart.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "core/base/status.h"
#include "core/os/file_io.h"
#include "core/os/root.h"

namespace understudy::dr {

// Removes everything below `folder`, not `folder` itself; holds one path for each level. Entries of `folder` that
// `keep` names stay, with all that they hold. What vanishes meanwhile is fine. CANCELLED: stopped on the way; to be
// called again. FAILED_PRECONDITION: something is mounted inside; nothing of that is removed. `go_on` is asked before
// each entry. Several at once over one folder are fine.
[[nodiscard]] absl::Status RemoveAllIn(const os::Root& folder, std::stop_token stop = {},
                                       const std::function<bool(const std::string& name)>& keep = nullptr,
                                       const os::GoOn& go_on = nullptr);

}  // namespace understudy::dr
