// outbox_service.h: the part of drctl serve that brings reports to their receivers, whoever queued them.
#pragma once

#include <memory>

#include "core/base/status.h"
#include "core/config/control_config.h"

namespace understudy::control {

// From Start until it is destroyed. Thread-safe.
class OutboxService {
 public:
  // nullptr: nobody is to hear of anything, and nothing is synced by schedule. Errors as of SyncState::Open.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<OutboxService>> Start(const config::ControlConfig& config);
  ~OutboxService();
  OutboxService(const OutboxService&) = delete;
  OutboxService& operator=(const OutboxService&) = delete;

 private:
  struct Parts;
  explicit OutboxService(std::unique_ptr<Parts> parts);
  const std::unique_ptr<Parts> parts_;
};

}  // namespace understudy::control
