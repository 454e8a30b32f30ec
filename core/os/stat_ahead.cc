#include "core/os/stat_ahead.h"

#include <utility>

namespace understudy::os {

StatAhead::StatAhead() : thread_([this] { Work(); }) {}

StatAhead::~StatAhead() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  thread_.join();
}

std::shared_ptr<StatAhead::Look> StatAhead::Begin(int folder_fd, const std::string* names, size_t count) {
  auto look = std::make_shared<Look>(Look{folder_fd, names, count});
  absl::MutexLock lock(&mutex_);
  waiting_.push_back(look);
  return look;
}

void StatAhead::Await(const Look& look) {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&look.done));
}

void StatAhead::Work() {
  while (true) {
    std::shared_ptr<Look> look;
    {
      absl::MutexLock lock(&mutex_);
      const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ending_ || !waiting_.empty(); };
      mutex_.Await(absl::Condition(&something));
      if (ending_) return;
      look = std::move(waiting_.front());
      waiting_.pop_front();
    }
    look->stats.reserve(look->count);
    for (size_t i = 0; i < look->count; ++i) look->stats.push_back(StatAt(look->folder_fd, look->names[i]));
    absl::MutexLock lock(&mutex_);
    look->done = true;
  }
}

}  // namespace understudy::os
