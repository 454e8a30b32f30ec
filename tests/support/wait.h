// wait.h: waiting for something that another process or thread brings about, without guessing how long it takes.
#pragma once

#include <functional>
#include <string_view>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::tests {

// Asks `predicate` again and again, at intervals that grow from 1 ms to 50 ms, and returns OK as soon as it is true.
// DEADLINE_EXCEEDED "waited <timeout> for <what>" when it never was. The timeout is a bound for a broken run, so make
// it generous: a run that works never waits for it.
[[nodiscard]] absl::Status WaitFor(std::string_view what, absl::Duration timeout,
                                   const std::function<bool()>& predicate);

// The same, for a predicate that can say what it saw instead: the last error is part of the message.
[[nodiscard]] absl::Status WaitForOk(std::string_view what, absl::Duration timeout,
                                     const std::function<absl::Status()>& attempt);

}  // namespace understudy::tests
