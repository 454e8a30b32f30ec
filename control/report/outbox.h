// outbox.h: brings reports to their receivers, again and again until they have them.
//
// What is queued outlives the process that queued it: whoever has the outbox open next (drctl serve always has) goes
// on.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/report/deliverable.h"
#include "control/report/notify.h"
#include "core/base/clock.h"
#include "core/config/sync_settings.h"

namespace understudy::control {

// A delivery is tried again after this, then after twice as long, and so on; and given up in the end.
inline constexpr absl::Duration kDeliveryRetryFirst = absl::Seconds(30);
inline constexpr absl::Duration kDeliveryRetryLongest = absl::Minutes(30);
// How long a process that takes a delivery has it for itself: longer than a try takes.
inline constexpr absl::Duration kDeliveryClaim = absl::Minutes(2);

// Pure: how long to wait after so many failed attempts.
[[nodiscard]] absl::Duration RetryPauseAfter(int attempts);
// Pure: how long a delivery is tried. A sync is told again by the next one; a failover isn't, and where a site is gone
// the mail server may be, too.
[[nodiscard]] absl::Duration GivenUpAfter(LetterKind kind);

// A letter on its way to one receiver.
struct Delivery {
  int64_t id = 0;
  Letter letter;
  std::string target;
  std::string message_id;  // the same in every attempt
  int attempts = 0;
  absl::Time created_at;
};

// Thread-safe; several processes may have it open. What a call changed is durable when it returns.
class Outbox {
 public:
  virtual ~Outbox() = default;
  // Queues a delivery to each target; nothing, if a letter with its key was queued before.
  [[nodiscard]] virtual absl::Status QueueLetter(const Letter& letter, const std::vector<std::string>& targets) = 0;
  // A delivery that is due, for this caller alone until `claim` is over; nullopt: none is.
  [[nodiscard]] virtual absl::StatusOr<std::optional<Delivery>> TakeDelivery(absl::Time now, absl::Duration claim) = 0;
  // It is done with: delivered, or given up.
  [[nodiscard]] virtual absl::Status EndDelivery(int64_t id) = 0;
  [[nodiscard]] virtual absl::Status PostponeDelivery(int64_t id, absl::Time until, const std::string& error) = 0;
  [[nodiscard]] virtual absl::StatusOr<size_t> PendingDeliveries() = 0;
};

// Tries everything that is due once. OK: all of it was delivered, or nothing was due; else the last error, which was
// logged. Only so many, so that the caller isn't held up for long.
[[nodiscard]] absl::Status DeliverDue(Outbox& outbox, Deliverer& deliverer, const Clock& clock, std::stop_token stop);

// To everybody who is to hear of reports, whether or not there were problems: a failover is never routine. To be called
// whenever a run ends, in whatever way; again for the same end does nothing. Delivers nothing itself: see DeliverDue.
[[nodiscard]] absl::Status QueueFailoverReport(Outbox& outbox, const config::NotifyConfig& notify,
                                               const FailoverReport& report);

}  // namespace understudy::control
