#include "core/os/write_behind.h"

#include <fcntl.h>

namespace understudy::os {

void BeginWriting(int fd) {
  (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

}  // namespace understudy::os
