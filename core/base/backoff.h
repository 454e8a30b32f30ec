// backoff.h: how long to wait before something that failed is tried again. Not thread-safe.
#pragma once

#include <algorithm>
#include <random>

#include "absl/time/time.h"

namespace understudy {

// Doubles from `first` up to `longest`; each pause is drawn from the upper half of its step, so that many who failed
// together don't come back together.
class Backoff {
 public:
  Backoff(absl::Duration first, absl::Duration longest, uint64_t seed = std::random_device{}())
      : first_(first), longest_(longest), step_(first), random_(seed) {}

  [[nodiscard]] absl::Duration Next() {
    const absl::Duration pause = step_ * std::uniform_real_distribution<double>(0.5, 1.0)(random_);
    step_ = std::min(step_ * 2, longest_);
    return pause;
  }
  void Reset() { step_ = first_; }

 private:
  const absl::Duration first_;
  const absl::Duration longest_;
  absl::Duration step_;
  std::mt19937_64 random_;
};

}  // namespace understudy
