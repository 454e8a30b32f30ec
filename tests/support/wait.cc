#include "tests/support/wait.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "core/base/clock.h"
#include "fmt/core.h"

namespace understudy::tests {
namespace {

constexpr absl::Duration kFirstInterval = absl::Milliseconds(1);
constexpr absl::Duration kLongestInterval = absl::Milliseconds(50);

}  // namespace

absl::Status WaitForOk(std::string_view what, absl::Duration timeout, const std::function<absl::Status()>& attempt) {
  const absl::Duration deadline = Clock::System().Monotonic() + timeout;
  absl::Duration interval = kFirstInterval;
  while (true) {
    const absl::Status status = attempt();
    if (status.ok()) return status;
    if (Clock::System().Monotonic() >= deadline) {
      return absl::DeadlineExceededError(
          fmt::format("waited {} for {}: {}", absl::FormatDuration(timeout), what, std::string(status.message())));
    }
    absl::SleepFor(interval);
    interval = std::min(interval * 2, kLongestInterval);
  }
}

absl::Status WaitFor(std::string_view what, absl::Duration timeout, const std::function<bool()>& predicate) {
  return WaitForOk(what, timeout, [&predicate] {
    return predicate() ? absl::OkStatus() : absl::UnavailableError("it never came true");
  });
}

}  // namespace understudy::tests
