// describe_entry.h: all that a replica has to show of one entry, but for the content of a file.
#pragma once

#include <string>

#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/stat.h"

namespace understudy::os {

// Of `name` in the folder `folder_fd` (the folder itself when `name` is empty), which was looked at as `stat`. Without
// path, digest and link_id. NOT_FOUND: it is gone since.
[[nodiscard]] absl::StatusOr<model::InventoryEntry> DescribeEntry(int folder_fd, const std::string& name,
                                                                  const EntryStat& stat);

}  // namespace understudy::os
