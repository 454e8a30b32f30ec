// capture_moment.h: whether what one capture takes shows the volume as it was at one moment: when the last of its large
// files was frozen.
//
// Of what was frozen before that, and of what is read directly, statx has to say that it didn't change between. What
// isn't in the capture at all, hints have to vouch for (CaptureContext::is_all_told). One thread.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "agent-primary/capture/file_capture.h"
#include "core/os/root.h"
#include "core/os/stat.h"

namespace understudy::primary {

// What changes in them since the moment doesn't matter.
struct FrozenFiles {
  std::set<std::string> paths;
  std::set<uint64_t> inodes;
};

class CaptureMoment {
 public:
  // `fine_times`: os::HasFineTimes. `root` must outlive it.
  CaptureMoment(const os::Root& root, bool fine_times) : root_(root), fine_times_(fine_times) {}

  // The file at `path` was frozen just now; `before` is from right before that.
  void AddFrozen(const std::string& path, const os::EntryStat& before);
  // No more are frozen: the moment is past.
  void Pass();
  // The file was read as it stands; `looked` is from before the moment.
  void AddRead(const os::EntryStat& looked, const CapturedFile& file);

  // So far.
  [[nodiscard]] bool is_one() const { return is_one_; }
  [[nodiscard]] const FrozenFiles& frozen() const { return frozen_files_; }

 private:
  struct Frozen {
    std::string path;
    uint64_t inode = 0;
    int64_t ctime_nanoseconds = 0;
    int64_t at_nanoseconds = 0;  // Unix time
  };
  // Whether a file with this change time, as it was then and is now, can't have changed since `at_nanoseconds`.
  [[nodiscard]] bool Stood(int64_t ctime_nanoseconds, int64_t at_nanoseconds) const;

  const os::Root& root_;
  const bool fine_times_;
  std::vector<Frozen> frozen_;
  FrozenFiles frozen_files_;
  int64_t at_nanoseconds_ = 0;
  bool is_one_ = true;
};

}  // namespace understudy::primary
