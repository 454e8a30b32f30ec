// serve_metrics.h: the metrics of drctl serve: its registry, and what its followers and the scheduled sync say of
// themselves when they are asked.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/registry.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/commands/sync_service.h"
#include "control/serve/follower.h"

namespace understudy::control {

// Thread-safe.
class ServeMetrics : public prometheus::Collectable {
 public:
  // The status of each pair's follower, by the pair's name.
  using Followers = std::function<std::map<std::string, FollowerStatus>()>;

  // nullopt: no scheduled sync is configured.
  using Sync = std::function<std::optional<SyncService::Status>()>;

  ServeMetrics(std::shared_ptr<prometheus::Registry> registry, Followers followers, Sync sync)
      : registry_(std::move(registry)), followers_(std::move(followers)), sync_(std::move(sync)) {}

  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
  const Followers followers_;
  const Sync sync_;
};

}  // namespace understudy::control
