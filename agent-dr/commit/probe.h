// probe.h: what the commit engine counts, for understudy-dr's metrics. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/clock.h"

namespace understudy::dr {

// Counters since the start of the program; the agent exports them (agent-dr/service/metrics.cc).
struct Probe {
  std::atomic<uint64_t> commits{0};              // made durable
  std::atomic<uint64_t> operations{0};           // in those
  std::atomic<uint64_t> staged_bytes{0};         // of content and deltas received
  std::atomic<uint64_t> refusals{0};             // staging calls and commits that ended a session
  std::atomic<uint64_t> publish_failures{0};     // commits that couldn't be brought into the folder at once
  std::atomic<uint64_t> points_given_up{0};      // recovery points that went before their time, for want of space
  std::atomic<uint64_t> trash_purged{0};         // deleted volumes whose data was removed for good
  std::atomic<uint64_t> durable_nanoseconds{0};  // spent until a commit was durable
  std::atomic<uint64_t> publish_nanoseconds{0};  // spent publishing
};

// Adds the time that it lives to a counter.
class Stopwatch {
 public:
  explicit Stopwatch(std::atomic<uint64_t>& nanoseconds)
      : nanoseconds_(nanoseconds), begin_(Clock::System().Monotonic()) {}
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    nanoseconds_ += static_cast<uint64_t>(absl::ToInt64Nanoseconds(Clock::System().Monotonic() - begin_));
  }

 private:
  std::atomic<uint64_t>& nanoseconds_;
  const absl::Duration begin_;
};

}  // namespace understudy::dr
