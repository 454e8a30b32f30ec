#include "agent-primary/ship/capture_moment.h"

#include <cstdlib>
#include <ctime>

#include "core/base/status.h"

namespace understudy::primary {
namespace {

// By the clock that files are stamped with.
int64_t StampNow() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

bool CaptureMoment::Stood(int64_t ctime_nanoseconds, int64_t at_nanoseconds) const {
  return fine_times_ || std::abs(at_nanoseconds - ctime_nanoseconds) >= kRacyNanoseconds;
}

void CaptureMoment::AddFrozen(const std::string& path, const os::EntryStat& before) {
  frozen_.push_back({path, before.inode, before.ctime_nanoseconds, StampNow()});
  frozen_files_.paths.insert(path);
  frozen_files_.inodes.insert(before.inode);
}

void CaptureMoment::Pass() {
  at_nanoseconds_ = StampNow();
  if (frozen_.empty()) return;
  frozen_.pop_back();  // it makes the moment
  for (const Frozen& file : frozen_) {
    const absl::StatusOr<os::EntryStat> now = root_.Stat(file.path);
    is_one_ &= now.ok() && now->inode == file.inode && now->ctime_nanoseconds == file.ctime_nanoseconds &&
               Stood(file.ctime_nanoseconds, file.at_nanoseconds);
  }
}

void CaptureMoment::AddRead(const os::EntryStat& looked, const CapturedFile& file) {
  is_one_ &= !file.changed && file.stat.inode == looked.inode &&
             file.stat.ctime_nanoseconds == looked.ctime_nanoseconds &&
             Stood(looked.ctime_nanoseconds, at_nanoseconds_);
}

}  // namespace understudy::primary
