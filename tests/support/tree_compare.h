// tree_compare.h: whether two folder trees are the same: the oracle of replication tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/status.h"

namespace understudy::tests {

// One line for each difference between `left` and `right` (absolute paths): names, kinds, content, symlink targets,
// device numbers, mode, owner, mtime in nanoseconds, xattrs (ACLs and capabilities are some), which names are one file,
// and the folders' own metadata; at most `limit` lines. Empty: no difference.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> CompareTrees(const std::string& left, const std::string& right,
                                                                    size_t limit = 20);

// One line for each regular file that takes more than `slack` bytes more space on the right than on the left: its holes
// weren't kept. Names that only one side has are passed over.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> CompareSpace(const std::string& left, const std::string& right,
                                                                    uint64_t slack);

}  // namespace understudy::tests
