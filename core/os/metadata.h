// metadata.h: reads and sets what a file carries besides its content: owner, mode, times, xattrs.
//
// Xattrs of every namespace that the caller may read are taken (ACLs and capabilities are xattrs). security.selinux is
// taken only when asked: labels belong to the host's policy.
#pragma once

#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/stat.h"

namespace understudy::os {

inline constexpr size_t kMaxXattrValueBytes = 64 * 1024;  // XATTR_SIZE_MAX
inline constexpr size_t kMaxXattrListBytes = 64 * 1024;   // XATTR_LIST_MAX

enum class Labels { kOmit, kTake };  // security.selinux

// Of `name` in the folder `folder_fd` (the folder itself when `name` is empty), a symlink not followed; ascending by
// name. Filesystems without xattrs give none.
[[nodiscard]] absl::StatusOr<std::vector<model::Xattr>> ReadXattrs(int folder_fd, const std::string& name,
                                                                   Labels labels = Labels::kOmit);

// Gives the file that `fd` stands for (O_PATH is enough) owner, mode, xattrs and mtime, in the order in which one
// doesn't undo another; xattrs that `metadata` doesn't name are removed, but for the label. A symlink keeps its mode,
// which Linux ignores.
[[nodiscard]] absl::Status ApplyMetadata(int fd, model::FileKind kind, const model::Metadata& metadata);

}  // namespace understudy::os
