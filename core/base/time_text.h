// time_text.h: a time as text for documents and messages: RFC 3339, in UTC. Pure.
#pragma once

#include <string>

#include "absl/time/time.h"

namespace understudy {

// "2026-01-02T03:04:05.5+00:00": with as many digits of a second as it has.
[[nodiscard]] std::string Rfc3339(absl::Time time);
// "2026-01-02T03:04:05+00:00": the same cut off to whole seconds.
[[nodiscard]] std::string Rfc3339Seconds(absl::Time time);

}  // namespace understudy
