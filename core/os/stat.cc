#include "core/os/stat.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>

#include "core/base/log.h"

namespace understudy::os {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

int64_t Nanoseconds(const statx_timestamp& time) {
  return time.tv_sec * kNanosecondsPerSecond + time.tv_nsec;
}

model::FileKind KindOf(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return model::FileKind::kDirectory;
    case S_IFLNK:
      return model::FileKind::kSymlink;
    case S_IFIFO:
      return model::FileKind::kFifo;
    case S_IFSOCK:
      return model::FileKind::kSocket;
    case S_IFCHR:
      return model::FileKind::kCharacterDevice;
    case S_IFBLK:
      return model::FileKind::kBlockDevice;
    default:
      return model::FileKind::kRegular;
  }
}

}  // namespace

absl::StatusOr<EntryStat> StatAt(int folder_fd, const std::string& name) {
  struct statx raw {};
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name.empty() ? AT_EMPTY_PATH : 0);
  if (statx(folder_fd, name.c_str(), flags, STATX_BASIC_STATS | STATX_BTIME, &raw) != 0) {
    return ErrnoStatus(errno, fmt::format("stat '{}'", Printable(name)));
  }
  EntryStat stat;
  stat.kind = KindOf(raw.stx_mode);
  stat.mode = raw.stx_mode & 07777;
  stat.uid = raw.stx_uid;
  stat.gid = raw.stx_gid;
  stat.link_count = raw.stx_nlink;
  stat.size = raw.stx_size;
  stat.inode = raw.stx_ino;
  stat.filesystem = makedev(raw.stx_dev_major, raw.stx_dev_minor);
  stat.device = makedev(raw.stx_rdev_major, raw.stx_rdev_minor);
  stat.mtime_nanoseconds = Nanoseconds(raw.stx_mtime);
  stat.ctime_nanoseconds = Nanoseconds(raw.stx_ctime);
  stat.btime_nanoseconds = (raw.stx_mask & STATX_BTIME) != 0 ? Nanoseconds(raw.stx_btime) : 0;
  return stat;
}

model::Metadata MetadataOf(const EntryStat& stat) {
  model::Metadata metadata;
  metadata.mode = stat.mode;
  metadata.uid = stat.uid;
  metadata.gid = stat.gid;
  metadata.mtime_seconds = stat.mtime_nanoseconds / kNanosecondsPerSecond;
  int64_t rest = stat.mtime_nanoseconds % kNanosecondsPerSecond;
  if (rest < 0) {  // before 1970
    rest += kNanosecondsPerSecond;
    --metadata.mtime_seconds;
  }
  metadata.mtime_nanoseconds = static_cast<uint32_t>(rest);
  return metadata;
}

}  // namespace understudy::os
