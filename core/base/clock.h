// clock.h: the time, behind an interface so that a test can hold it still and jump it.
#pragma once

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace understudy {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Wall-clock time: for what people and other hosts read. May jump.
  [[nodiscard]] virtual absl::Time Now() const = 0;
  // Time since some fixed moment: for intervals and deadlines. Never jumps.
  [[nodiscard]] virtual absl::Duration Monotonic() const = 0;

  // The machine's clock; lives as long as the process.
  static Clock& System();
};

}  // namespace understudy
