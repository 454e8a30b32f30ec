// stat.h: what the kernel says of one directory entry.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/status.h"
#include "core/model/commit.h"

namespace understudy::os {

struct EntryStat {
  model::FileKind kind = model::FileKind::kRegular;
  uint32_t mode = 0;  // permission bits with setuid, setgid, sticky
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t link_count = 0;
  uint64_t size = 0;
  uint64_t inode = 0;
  uint64_t filesystem = 0;        // st_dev
  uint64_t device = 0;            // st_rdev
  int64_t mtime_nanoseconds = 0;  // since the Unix epoch
  int64_t ctime_nanoseconds = 0;  // likewise
  int64_t btime_nanoseconds = 0;  // likewise; 0 where the filesystem keeps none
  friend bool operator==(const EntryStat&, const EntryStat&) = default;
};

// Of `name` in the folder `folder_fd`, without following a symlink; with an empty name, of the descriptor itself.
[[nodiscard]] absl::StatusOr<EntryStat> StatAt(int folder_fd, const std::string& name);

// Owner, mode and mtime of `stat`; no xattrs.
[[nodiscard]] model::Metadata MetadataOf(const EntryStat& stat);

}  // namespace understudy::os
