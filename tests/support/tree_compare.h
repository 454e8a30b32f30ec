// tree_compare.h: whether two folder trees are the same: the oracle of replication tests.
#pragma once

#include <string>
#include <vector>

#include "core/base/status.h"

namespace understudy::tests {

// One line for each difference between `left` and `right` (absolute paths): names, kinds, content, symlink targets,
// device numbers, mode, owner, mtime in nanoseconds, xattrs, and the folders' own metadata; at most `limit` lines.
// Empty: no difference.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> CompareTrees(const std::string& left, const std::string& right,
                                                                    size_t limit = 20);

}  // namespace understudy::tests
