#include "core/os/clone_file.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include <cerrno>

namespace understudy::os {

int CloneFile(int source, int target) {
  return ioctl(target, FICLONE, source) == 0 ? 0 : errno;
}

int CloneRange(int source, int target, uint64_t offset, uint64_t length) {
  file_clone_range range{};
  range.src_fd = source;
  range.src_offset = offset;
  range.src_length = length;
  range.dest_offset = offset;
  return ioctl(target, FICLONERANGE, &range) == 0 ? 0 : errno;
}

}  // namespace understudy::os
