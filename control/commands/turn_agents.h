// turn_agents.h: all four agents of one pair, as turning its replication round needs them, over gRPC.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "control/failover/ports.h"
#include "core/config/control_config.h"
#include "core/net/tls_files.h"

namespace understudy::control {

// Connects for each call, which is rare. Thread-safe. INVALID_ARGUMENT: the pair has no `reverse` agents; else errors
// are the agents', CANCELLED once `stop` is requested.
class TurnAgents {
 public:
  TurnAgents(config::PairConfig pair, net::TlsFiles tls, std::stop_token stop)
      : pair_(std::move(pair)), tls_(std::move(tls)), stop_(std::move(stop)) {}

  // As of SiteAgents::LiveVolumes, Turn and SyncTurned.
  [[nodiscard]] absl::StatusOr<std::vector<LiveView>> LiveVolumes() const;
  [[nodiscard]] absl::Status Turn(const std::string& volume, const std::string& run, const PromotionWatch& watch) const;
  [[nodiscard]] absl::StatusOr<model::Sequence> Sync(const std::string& volume, absl::Duration timeout,
                                                     const std::function<void(const std::string&)>& on_progress,
                                                     std::stop_token stop) const;

 private:
  [[nodiscard]] absl::StatusOr<LiveView> LiveVolume(const std::string& volume) const;

  const config::PairConfig pair_;  // as it stands in the configuration
  const net::TlsFiles tls_;
  const std::stop_token stop_;
};

// INVALID_ARGUMENT with what to configure.
[[nodiscard]] absl::Status NoWayBack(const config::PairConfig& pair);

}  // namespace understudy::control
