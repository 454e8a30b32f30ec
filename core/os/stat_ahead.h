// stat_ahead.h: a thread that looks at entries of folders while others of them are worked on.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "core/os/stat.h"

namespace understudy::os {

// One other thread at a time calls it. Its end waits for what is under way.
class StatAhead {
 public:
  // Some names of one folder, and what StatAt says of each. The folder's descriptor and the names outlive it, or the
  // StatAhead.
  struct Look {
    int folder_fd = -1;
    const std::string* names = nullptr;
    size_t count = 0;
    std::vector<absl::StatusOr<EntryStat>> stats{};  // once it is done
    bool done = false;                               // guarded by StatAhead::mutex_
  };

  StatAhead();
  ~StatAhead();
  StatAhead(const StatAhead&) = delete;
  StatAhead& operator=(const StatAhead&) = delete;

  [[nodiscard]] std::shared_ptr<Look> Begin(int folder_fd, const std::string* names, size_t count);
  // Returns when it is done.
  void Await(const Look& look);

 private:
  void Work();
  static void Do(Look& look);

  absl::Mutex mutex_;
  std::deque<std::shared_ptr<Look>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace understudy::os
