// loop_mount.h: a filesystem of a kind that a test chooses, in a file on a loop device, mounted while the test lives.
//
// What a test has to know of a filesystem (reflinks, change times, what a power cut takes away) it sees on a real one,
// whatever the machine's own is. Needs root and loop devices.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace understudy::tests {

// Not thread-safe.
class LoopMount {
 public:
  // Makes and mounts a filesystem of `megabytes` in a folder of its own below $TMPDIR, else /var/tmp; the file is
  // sparse. `options` are for mkfs. `type` is ext4, xfs (from 300 MB) or btrfs (from 128 MB). First takes away what
  // killed runs left behind. UNIMPLEMENTED: this machine can't (no root, no loop device, no mkfs); the message says
  // which, for a skipped test.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LoopMount>> Make(std::string_view type, uint64_t megabytes,
                                                                       const std::vector<std::string>& options = {});
  // Unmounts, also while somebody still holds a file in it open; the loop device goes with the last of them.
  ~LoopMount();
  LoopMount(const LoopMount&) = delete;
  LoopMount& operator=(const LoopMount&) = delete;

  // Where it is mounted: absolute, without a slash at the end.
  [[nodiscard]] const std::string& Path() const { return path_; }

  // While it is mounted: the file below isn't cached a second time, as a disk's blocks aren't.
  [[nodiscard]] absl::Status CacheOnce() const;

  // Stands in for a power cut (ext4 and xfs): from now on the filesystem takes nothing, and what wasn't synced is gone
  // at the next Mount. Every call on it fails until then.
  [[nodiscard]] absl::Status CutPower();
  // Fails while a process has something in it open.
  [[nodiscard]] absl::Status Unmount();
  [[nodiscard]] absl::Status Mount();

 private:
  LoopMount(std::string type, std::string folder);

  const std::string type_;
  const std::string folder_;  // holds the image and the mount point
  const std::string image_;
  const std::string path_;
  bool mounted_ = false;
};

}  // namespace understudy::tests
