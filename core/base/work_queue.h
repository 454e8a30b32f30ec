// work_queue.h: which of many keyed pieces of work is due, for several workers.
//
// A key is queued at most once and held by at most one worker; what is added while a worker holds the key comes again
// after it. Keys of a lower rank come first; within a rank, the longest waiting. A failed key comes again after a pause
// that grows with its failures. What is to be done for a key, and how many keys there may be, is the owner's to know.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <tuple>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/backoff.h"
#include "core/base/clock.h"

namespace understudy {

// Thread-safe.
template <typename Key>
class WorkQueue {
 public:
  WorkQueue(absl::Duration retry_first, absl::Duration retry_longest, Clock& clock)
      : retry_first_(retry_first), retry_longest_(retry_longest), clock_(clock) {}

  // Makes `key` due now: news, so its failures are forgotten.
  void Add(const Key& key, int rank) {
    absl::MutexLock lock(&mutex_);
    failures_.erase(key);
    Schedule(key, rank, clock_.Monotonic());
  }

  // Waits for a key of at most `worst_rank`, and hands it to the caller, who must call Done or Failed. nullopt: `stop`
  // was requested.
  [[nodiscard]] std::optional<Key> Take(std::stop_token stop, int worst_rank) {
    const std::stop_callback wake(stop, [this] {
      absl::MutexLock lock(&mutex_);
      changed_.SignalAll();
    });
    absl::MutexLock lock(&mutex_);
    while (!stop.stop_requested()) {
      const absl::Duration now = clock_.Monotonic();
      MoveDue(now);
      if (!ready_.empty() && std::get<0>(*ready_.begin()) <= worst_rank) {
        const Key key = std::get<2>(*ready_.begin());
        ready_.erase(ready_.begin());
        queued_.erase(key);
        held_.emplace(key, std::nullopt);
        return key;
      }
      changed_.WaitWithTimeout(&mutex_, later_.empty() ? absl::InfiniteDuration() : later_.begin()->first - now);
    }
    return std::nullopt;
  }

  void Done(const Key& key) {
    absl::MutexLock lock(&mutex_);
    failures_.erase(key);
    Release(key);
  }

  // As Done, and the key comes again after `pause`; at once if it was added meanwhile.
  void Later(const Key& key, int rank, absl::Duration pause) {
    absl::MutexLock lock(&mutex_);
    failures_.erase(key);
    if (!Release(key)) Schedule(key, rank, clock_.Monotonic() + pause);
  }

  // The key comes again after a pause, of at least `at_least`; at once if it was added meanwhile.
  void Failed(const Key& key, int rank, absl::Duration at_least = absl::ZeroDuration()) {
    absl::MutexLock lock(&mutex_);
    if (!Release(key)) {
      auto [failures, first] = failures_.try_emplace(key, retry_first_, retry_longest_);
      Schedule(key, rank, clock_.Monotonic() + std::max(failures->second.Next(), at_least));
    }
  }

 private:
  struct Queued {
    int rank = 0;
    absl::Duration due;
    uint64_t order = 0;
  };
  using Ready = std::tuple<int, uint64_t, Key>;  // rank, order, key

  // Returns whether the key was added while it was held.
  bool Release(const Key& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto held = held_.find(key);
    const std::optional<int> added = held->second;
    held_.erase(held);
    if (added) Schedule(key, *added, clock_.Monotonic());
    return added.has_value();
  }

  void Schedule(const Key& key, int rank, absl::Duration due) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (const auto held = held_.find(key); held != held_.end()) {
      held->second = held->second ? std::min(*held->second, rank) : rank;
      return;
    }
    if (const auto queued = queued_.find(key); queued != queued_.end()) {
      const Queued old = queued->second;
      if (old.rank == rank && old.due <= due) return;
      ready_.erase({old.rank, old.order, key});
      later_.erase({old.due, key});
      due = std::min(due, old.due);
      queued_.erase(queued);
    }
    queued_[key] = {.rank = rank, .due = due, .order = ++order_};
    later_.emplace(due, key);
    changed_.SignalAll();
  }

  void MoveDue(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (!later_.empty() && later_.begin()->first <= now) {
      const Key key = later_.begin()->second;
      later_.erase(later_.begin());
      const Queued& queued = queued_.at(key);
      ready_.emplace(queued.rank, queued.order, key);
    }
  }

  const absl::Duration retry_first_;
  const absl::Duration retry_longest_;
  Clock& clock_;

  absl::Mutex mutex_;
  absl::CondVar changed_;
  uint64_t order_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<Key, Queued> queued_ ABSL_GUARDED_BY(mutex_);
  std::set<Ready> ready_ ABSL_GUARDED_BY(mutex_);
  std::set<std::pair<absl::Duration, Key>> later_ ABSL_GUARDED_BY(mutex_);
  std::map<Key, std::optional<int>> held_ ABSL_GUARDED_BY(mutex_);  // the rank of what was added meanwhile
  std::map<Key, Backoff> failures_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy
