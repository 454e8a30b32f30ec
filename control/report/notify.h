// notify.h: who hears of a report, and how it gets there: by mail and to webhooks.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "control/report/deliverable.h"
#include "core/config/sync_settings.h"

namespace understudy::control {

// Everybody who is to hear of a report; `noteworthy`: those, too, who want mail only then. A target is "email", or a
// webhook's name: scheme, host and port of its URL, and the number of it when several have those. That is what a
// delivery that is kept for later needs to be found again in the configuration; the rest of a URL is often a secret,
// and is neither kept nor logged.
[[nodiscard]] std::vector<std::string> TargetsOf(const config::NotifyConfig& config, bool noteworthy);

// Thread-safe.
class Deliverer {
 public:
  virtual ~Deliverer() = default;
  // OK: the receiver has it. NOT_FOUND: the configuration names no such target (any more). Any other error may be tried
  // again. A receiver may get a message twice; its `id` is the same then.
  [[nodiscard]] virtual absl::Status Deliver(const std::string& target, const std::string& id,
                                             const Deliverable& report, std::stop_token stop) = 0;
};

class Notifier : public Deliverer {
 public:
  explicit Notifier(config::NotifyConfig config) : config_(std::move(config)) {}
  // Each try ends within about half a minute. Secrets are read anew from their files.
  absl::Status Deliver(const std::string& target, const std::string& id, const Deliverable& report,
                       std::stop_token stop) override;

 private:
  const config::NotifyConfig config_;
};

}  // namespace understudy::control
