// app.h: understudy-dr as a whole: the commit engine, the catalog, their services, metrics and health.
#pragma once

#include <memory>

#include "core/base/status.h"
#include "core/config/dr_config.h"
#include "core/daemon/agent_main.h"

namespace understudy::dr {

// A started DR agent. Ports given as 0 are chosen by the system; the getters tell which.
class DrAgent : public daemon::Agent {
 public:
  // Finishes or discards what an earlier run left, then serves. INVALID_ARGUMENT: unfit certificates or addresses;
  // NOT_FOUND: an export's folder is missing.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<DrAgent>> Start(const config::DrConfig& config);
  ~DrAgent() override;

  [[nodiscard]] absl::Status Liveness() override;
  [[nodiscard]] std::string StatusLine() override;
  void Stop() override;

  [[nodiscard]] int port() const;
  [[nodiscard]] int metrics_port() const;

 private:
  struct Parts;
  explicit DrAgent(std::unique_ptr<Parts> parts);
  const std::unique_ptr<Parts> parts_;
};

}  // namespace understudy::dr
