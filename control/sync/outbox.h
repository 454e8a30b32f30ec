// outbox.h: brings the reports of ended runs to their receivers, again and again until they have them.
#pragma once

#include <stop_token>

#include "absl/time/time.h"
#include "control/report/notify.h"
#include "control/sync/state.h"
#include "core/base/clock.h"

namespace understudy::control {

// A delivery is tried again after this, then after twice as long, and so on; and given up in the end.
inline constexpr absl::Duration kDeliveryRetryFirst = absl::Seconds(30);
inline constexpr absl::Duration kDeliveryRetryLongest = absl::Minutes(30);
inline constexpr absl::Duration kDeliveryGivenUpAfter = absl::Hours(24);
// How long a process that takes a delivery has it for itself: longer than a try takes.
inline constexpr absl::Duration kDeliveryClaim = absl::Minutes(2);

// Pure: how long to wait after so many failed attempts.
[[nodiscard]] absl::Duration RetryPauseAfter(int attempts);

// Tries everything that is due once. OK: all of it was delivered, or nothing was due; else the last error, which was
// logged. Only so many, so that the caller isn't held up for long.
[[nodiscard]] absl::Status DeliverDue(SyncState& state, Deliverer& deliverer, const Clock& clock, std::stop_token stop);

}  // namespace understudy::control
