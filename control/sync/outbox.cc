#include "control/sync/outbox.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"

namespace understudy::control {
namespace {

constexpr int kMaxDeliveriesAtOnce = 20;

absl::Status DeliverOne(SyncState& state, Deliverer& deliverer, const Delivery& delivery, absl::Time now,
                        std::stop_token stop) {
  const absl::StatusOr<Report> report = state.ReportOf(delivery.run);
  const absl::Status delivered =
      report.ok() ? deliverer.Deliver(delivery.target, delivery.message_id, *report, std::move(stop)) : report.status();
  if (delivered.ok()) {
    spdlog::info("report of run {} delivered to {}", delivery.run, delivery.target);
    return state.EndDelivery(delivery.id);
  }
  // Nothing will change what isn't there any more.
  const bool given_up = absl::IsNotFound(delivered) || now - delivery.created_at > kDeliveryGivenUpAfter;
  spdlog::warn("report of run {} can't be delivered to {}, {}: {}", delivery.run, delivery.target,
               given_up ? "and is given up" : "will be tried again", MessageOf(delivered));
  if (given_up) {
    RETURN_IF_ERROR(state.EndDelivery(delivery.id));
  } else {
    RETURN_IF_ERROR(state.PostponeDelivery(delivery.id, now + RetryPauseAfter(delivery.attempts),
                                           std::string(MessageOf(delivered))));
  }
  return delivered;
}

}  // namespace

absl::Duration RetryPauseAfter(int attempts) {
  absl::Duration pause = kDeliveryRetryFirst;
  for (int i = 1; i < attempts && pause < kDeliveryRetryLongest; ++i) pause *= 2;
  return std::min(pause, kDeliveryRetryLongest);
}

absl::Status DeliverDue(SyncState& state, Deliverer& deliverer, const Clock& clock, std::stop_token stop) {
  absl::Status last;
  for (int i = 0; i < kMaxDeliveriesAtOnce && !stop.stop_requested(); ++i) {
    ASSIGN_OR_RETURN(const std::optional<Delivery> delivery, state.TakeDelivery(clock.Now(), kDeliveryClaim));
    if (!delivery) break;
    const absl::Status delivered = DeliverOne(state, deliverer, *delivery, clock.Now(), stop);
    if (!delivered.ok()) last = delivered;
  }
  return last;
}

}  // namespace understudy::control
