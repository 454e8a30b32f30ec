// fake_clock.h: a clock that stands still until a history moves it. One thread.
#pragma once

#include "core/base/clock.h"

namespace understudy::sim {

class FakeClock : public Clock {
 public:
  [[nodiscard]] absl::Time Now() const override { return now_; }
  [[nodiscard]] absl::Duration Monotonic() const override { return monotonic_; }

  void Advance(absl::Duration by) {
    now_ += by;
    monotonic_ += by;
  }
  // The wall clock alone, forth or back.
  void Jump(absl::Duration by) { now_ += by; }

 private:
  absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);
  absl::Duration monotonic_ = absl::Hours(1);
};

}  // namespace understudy::sim
