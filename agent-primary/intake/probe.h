// probe.h: the metrics of intake, rules, actions and forwarding, computed when they are asked for.
#pragma once

#include <prometheus/collectable.h>

#include <vector>

#include "agent-primary/forward/forwarder.h"
#include "agent-primary/intake/cluster_intake.h"
#include "agent-primary/intake/event_pipeline.h"
#include "agent-primary/intake/webhook_intake.h"
#include "agent-primary/rules/action_runner.h"

namespace understudy::primary {

// What it looks at, and must outlive it; what may be null isn't configured.
struct IntakeParts {
  EventLog* log = nullptr;
  const EventPipeline* pipeline = nullptr;
  const ActionRunner* runner = nullptr;
  const ClusterIntake* watch = nullptr;    // may be null
  const WebhookIntake* webhook = nullptr;  // may be null
  const Forwarder* forwarder = nullptr;    // may be null
};

// Thread-safe.
class IntakeProbe : public prometheus::Collectable {
 public:
  explicit IntakeProbe(const IntakeParts& parts) : parts_(parts) {}

  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const IntakeParts parts_;
};

}  // namespace understudy::primary
