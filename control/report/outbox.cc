#include "control/report/outbox.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"

namespace understudy::control {
namespace {

constexpr int kMaxDeliveriesAtOnce = 20;

absl::Status DeliverOne(Outbox& outbox, Deliverer& deliverer, const Delivery& delivery, absl::Time now,
                        std::stop_token stop) {
  const absl::StatusOr<Deliverable> report = DeliverableOf(delivery.letter);
  const absl::Status delivered =
      report.ok() ? deliverer.Deliver(delivery.target, delivery.message_id, *report, std::move(stop)) : report.status();
  const std::string name = fmt::format("report of {} {}", ToString(delivery.letter.kind),
                                       report.ok() ? Printable(report->run) : Printable(delivery.letter.key));
  if (delivered.ok()) {
    spdlog::info("{} delivered to {}", name, delivery.target);
    return outbox.EndDelivery(delivery.id);
  }
  // Nothing will change what isn't there any more.
  const bool given_up = absl::IsNotFound(delivered) || now - delivery.created_at > GivenUpAfter(delivery.letter.kind);
  spdlog::warn("{} can't be delivered to {}, {}: {}", name, delivery.target,
               given_up ? "and is given up" : "will be tried again", MessageOf(delivered));
  if (given_up) {
    RETURN_IF_ERROR(outbox.EndDelivery(delivery.id));
  } else {
    RETURN_IF_ERROR(outbox.PostponeDelivery(delivery.id, now + RetryPauseAfter(delivery.attempts),
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

absl::Duration GivenUpAfter(LetterKind kind) {
  return kind == LetterKind::kSync ? absl::Hours(24) : absl::Hours(7 * 24);
}

absl::Status DeliverDue(Outbox& outbox, Deliverer& deliverer, const Clock& clock, std::stop_token stop) {
  absl::Status last;
  for (int i = 0; i < kMaxDeliveriesAtOnce && !stop.stop_requested(); ++i) {
    ASSIGN_OR_RETURN(const std::optional<Delivery> delivery, outbox.TakeDelivery(clock.Now(), kDeliveryClaim));
    if (!delivery) break;
    const absl::Status delivered = DeliverOne(outbox, deliverer, *delivery, clock.Now(), stop);
    if (!delivered.ok()) last = delivered;
  }
  return last;
}

absl::Status QueueFailoverReport(Outbox& outbox, const config::NotifyConfig& notify, const FailoverReport& report) {
  return outbox.QueueLetter(LetterOf(report), TargetsOf(notify, /*noteworthy=*/true));
}

}  // namespace understudy::control
