#include "core/os/stat_ahead.h"

#include <system_error>
#include <utility>

namespace understudy::os {

StatAhead::StatAhead() {
  try {
    thread_ = std::thread([this] { Work(); });
  } catch (const std::system_error&) {
    // No thread to be had: whoever begins a look does it.
  }
}

StatAhead::~StatAhead() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<StatAhead::Look> StatAhead::Begin(int folder_fd, const std::string* names, size_t count) {
  auto look = std::make_shared<Look>(Look{folder_fd, names, count});
  if (!thread_.joinable()) Do(*look);
  absl::MutexLock lock(&mutex_);
  look->done = !thread_.joinable();
  if (look->done) return look;
  waiting_.push_back(look);
  return look;
}

void StatAhead::Do(Look& look) {
  look.stats.reserve(look.count);
  for (size_t i = 0; i < look.count; ++i) look.stats.push_back(StatAt(look.folder_fd, look.names[i]));
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
    Do(*look);
    absl::MutexLock lock(&mutex_);
    look->done = true;
  }
}

}  // namespace understudy::os
