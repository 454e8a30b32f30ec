// recorder.h: keeps what a change source hints at, for tests.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/watch/change_source.h"

namespace understudy::primary {

// Thread-safe.
class Recorder : public HintSink {
 public:
  void OnHint(const model::VolumeName& volume, std::string_view path, HintKind, bool) override {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&open_));
    paths_.emplace(path);
    volumes_.insert(volume);
  }
  void OnInode(const model::VolumeName&, uint64_t inode, bool) override {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&open_));
    inodes_.insert(inode);
  }
  void OnOverflow(const model::VolumeName&) override {
    absl::MutexLock lock(&mutex_);
    ++overflows_;
    mutex_.Await(absl::Condition(&overflow_open_));
  }
  void OnCoverage(const model::VolumeName&, const absl::Status& coverage) override {
    absl::MutexLock lock(&mutex_);
    coverage_ = coverage;
  }
  absl::Status coverage() {
    absl::MutexLock lock(&mutex_);
    return coverage_;
  }
  std::set<std::string> TakePaths() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(paths_, {});
  }
  std::set<uint64_t> TakeInodes() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(inodes_, {});
  }
  // Those that paths were hinted at of.
  std::set<model::VolumeName> TakeVolumes() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(volumes_, {});
  }
  // While closed, the source's thread is held at the next hint, and the kernel's queue fills.
  void SetOpen(bool open) {
    absl::MutexLock lock(&mutex_);
    open_ = open;
  }
  // While closed, the source's thread is held after it told of an overflow.
  void SetOverflowOpen(bool open) {
    absl::MutexLock lock(&mutex_);
    overflow_open_ = open;
  }
  int overflows() {
    absl::MutexLock lock(&mutex_);
    return overflows_;
  }

 private:
  absl::Mutex mutex_;
  bool open_ ABSL_GUARDED_BY(mutex_) = true;
  bool overflow_open_ ABSL_GUARDED_BY(mutex_) = true;
  std::set<uint64_t> inodes_ ABSL_GUARDED_BY(mutex_);
  std::set<model::VolumeName> volumes_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> paths_ ABSL_GUARDED_BY(mutex_);
  int overflows_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status coverage_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::primary
