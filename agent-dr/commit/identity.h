// identity.h: tells one entry of a filesystem apart from another one of the same name.
#pragma once

#include <cstdint>

#include "core/os/stat.h"

namespace understudy::dr {

struct Identity {
  uint64_t inode = 0;
  int64_t btime_nanoseconds = 0;  // 0 where the filesystem keeps none
  friend bool operator==(const Identity&, const Identity&) = default;
};

[[nodiscard]] inline Identity IdentityOf(const os::EntryStat& stat) {
  return {stat.inode, stat.btime_nanoseconds};
}

}  // namespace understudy::dr
