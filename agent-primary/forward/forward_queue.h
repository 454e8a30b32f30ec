// forward_queue.h: what is still to be posted to each target, on disk and in order (docs/formats/events.md).
//
// Bounded for each target in events and bytes: past that, its oldest go. An event that is added again while it waits
// stays where it is. Thread-safe. Errors are store::Database's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/store/database.h"

namespace understudy::primary {

struct ForwardQueueOptions {
  uint64_t max_events = 10'000;  // of one target
  uint64_t max_bytes = uint64_t{256} << 20;
};

class ForwardQueue {
 public:
  struct Item {
    uint64_t id = 0;
    std::string event_id;
    std::string body;
  };
  struct Dropped {
    std::string target;
    std::string event_id;
  };
  struct Size {
    uint64_t events = 0;
    uint64_t bytes = 0;
    std::optional<absl::Time> oldest;  // when it was added
  };

  // The file is made anew when there is none. What waits for a target that isn't one of `targets` is forgotten.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ForwardQueue>> Open(const std::string& path,
                                                                          const std::vector<std::string>& targets,
                                                                          const ForwardQueueOptions& options);

  // To the end of every target's queue, for all or none. Returns what had to go for it.
  [[nodiscard]] absl::StatusOr<std::vector<Dropped>> Add(const std::string& event_id, std::string_view body,
                                                         absl::Time now, store::Durability durability);
  // The target's oldest; nullopt when nothing waits.
  [[nodiscard]] absl::StatusOr<std::optional<Item>> First(const std::string& target);
  // Returns for how many targets the event still waits. An item that was dropped meanwhile is fine.
  [[nodiscard]] absl::StatusOr<uint64_t> Remove(const Item& item);

  [[nodiscard]] absl::StatusOr<Size> Measure(const std::string& target);

 private:
  ForwardQueue(store::Database database, std::vector<std::string> targets, const ForwardQueueOptions& options)
      : targets_(std::move(targets)), options_(options), database_(std::move(database)) {}

  [[nodiscard]] absl::StatusOr<Size> MeasureLocked(const std::string& target) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::StatusOr<std::optional<Item>> FirstLocked(const std::string& target)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status Delete(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status MakeRoom(const std::string& target, uint64_t bytes, std::vector<Dropped>& dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::vector<std::string> targets_;
  const ForwardQueueOptions options_;
  absl::Mutex mutex_;
  store::Database database_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::primary
