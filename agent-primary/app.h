// app.h: understudy-primary as a whole: volumes, the connection to DR, intake of storage objects, services.
#pragma once

#include <memory>

#include "core/base/status.h"
#include "core/config/primary_config.h"
#include "core/daemon/agent_main.h"

namespace understudy::primary {

// A started primary agent. Ports given as 0 are chosen by the system; the getters tell which.
class PrimaryAgent : public daemon::Agent {
 public:
  // Doesn't wait for DR: an agent that can't reach it watches, and says so.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<PrimaryAgent>> Start(const config::PrimaryConfig& config);
  ~PrimaryAgent() override;

  [[nodiscard]] absl::Status Liveness() override;
  [[nodiscard]] std::string StatusLine() override;
  void Stop() override;

  [[nodiscard]] int port() const;
  [[nodiscard]] int metrics_port() const;

 private:
  struct Parts;
  explicit PrimaryAgent(std::unique_ptr<Parts> parts);
  const std::unique_ptr<Parts> parts_;
};

}  // namespace understudy::primary
