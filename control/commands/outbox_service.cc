#include "control/commands/outbox_service.h"

#include <stop_token>
#include <thread>

#include "control/report/notify.h"
#include "control/report/outbox.h"
#include "control/sync/state.h"
#include "core/base/clock.h"
#include "core/base/wait.h"

namespace understudy::control {
namespace {

constexpr absl::Duration kOutboxInterval = absl::Seconds(5);

}  // namespace

struct OutboxService::Parts {
  explicit Parts(const config::ControlConfig& config) : notifier(config.notify) {}

  void Deliver(std::stop_token stop) {
    do {
      // What went wrong was logged, and is tried again.
      (void)DeliverDue(*state, notifier, Clock::System(), stop);
    } while (WaitUnlessStopped(stop, kOutboxInterval));
  }

  // Each outlives what comes after it.
  std::unique_ptr<SyncState> state;
  Notifier notifier;
  std::jthread thread;
};

absl::StatusOr<std::unique_ptr<OutboxService>> OutboxService::Start(const config::ControlConfig& config) {
  const bool anybody = config.notify.email.has_value() || !config.notify.webhooks.empty();
  // With a scheduled sync there may be reports for receivers that the configuration had before.
  if (!anybody && !config.clusters.primary) return nullptr;
  auto parts = std::make_unique<Parts>(config);
  ASSIGN_OR_RETURN(parts->state, SyncState::Open(config.state_dir));
  Parts* const raw = parts.get();
  parts->thread = std::jthread([raw](std::stop_token stop) { raw->Deliver(std::move(stop)); });
  return std::unique_ptr<OutboxService>(new OutboxService(std::move(parts)));
}

OutboxService::OutboxService(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
OutboxService::~OutboxService() = default;

}  // namespace understudy::control
