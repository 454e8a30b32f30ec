#include "agent-primary/ship/root_guard.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>

namespace understudy::primary {
namespace {

uint64_t LastingFilesystemId(const struct statfs& filesystem) {
  static_assert(sizeof(filesystem.f_fsid) == sizeof(uint64_t));
  const auto type = static_cast<uint64_t>(filesystem.f_type);
  if (type != EXT4_SUPER_MAGIC && type != BTRFS_SUPER_MAGIC) return 0;
  uint64_t id = 0;
  std::memcpy(&id, &filesystem.f_fsid, sizeof(id));
  return id;
}

bool Differ(uint64_t known, uint64_t now) {
  return known != 0 && now != 0 && known != now;
}

}  // namespace

absl::StatusOr<RootIdentity> IdentifyRoot(const os::Root& root) {
  ASSIGN_OR_RETURN(const os::EntryStat stat, root.Stat(""));
  struct statfs filesystem {};
  if (::fstatfs(root.fd(), &filesystem) != 0) return ErrnoStatus(errno, "ask for the filesystem of the volume");
  return RootIdentity{LastingFilesystemId(filesystem), stat.inode, stat.btime_nanoseconds};
}

std::optional<std::string> FindRootChange(const RootIdentity& known, const RootIdentity& now) {
  if (Differ(known.filesystem, now.filesystem)) return "it is on another filesystem";
  if (Differ(known.inode, now.inode)) return fmt::format("inode {} instead of {}", now.inode, known.inode);
  if (Differ(static_cast<uint64_t>(known.btime_nanoseconds), static_cast<uint64_t>(now.btime_nanoseconds))) {
    return "the same inode number, made at another time";
  }
  return std::nullopt;
}

}  // namespace understudy::primary
