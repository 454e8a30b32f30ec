// root_guard.h: whether a volume's folder is the one that was replicated before. An empty mount point, or another
// folder in its place, must never look like a volume whose files were all deleted.
#pragma once

#include <optional>
#include <string>

#include "agent-primary/index/guard_record.h"
#include "core/base/status.h"
#include "core/os/root.h"

namespace understudy::primary {

// Inode and birth time are the folder's for as long as it lives, over reboots and remounts, on ext4, XFS and btrfs. The
// device number isn't: it follows the order in which disks are found. Of the filesystem there is what statfs calls
// f_fsid, where it is made of the filesystem's UUID: ext2/3/4 and btrfs (there with the subvolume's id). XFS makes it
// from the device number and tmpfs anew at each mount, so there it doesn't count. Birth time tells two filesystems'
// roots apart that have the same inode number (2 on ext4, 256 on btrfs).
[[nodiscard]] absl::StatusOr<RootIdentity> IdentifyRoot(const os::Root& root);

// Pure. Why `now` isn't the folder `known`, for people; nullopt: it is. What one of them doesn't know tells nothing.
[[nodiscard]] std::optional<std::string> FindRootChange(const RootIdentity& known, const RootIdentity& now);

}  // namespace understudy::primary
