// probe.h: the primary's metrics, computed when they are asked for.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/registry.h>

#include <memory>
#include <vector>

#include "agent-primary/ship/data_plane.h"

namespace understudy::primary {

// The volumes' metrics after those of `registry`. `plane` must outlive it. Thread-safe.
class PrimaryProbe : public prometheus::Collectable {
 public:
  PrimaryProbe(std::shared_ptr<prometheus::Registry> registry, const DataPlane& plane)
      : registry_(std::move(registry)), plane_(plane) {}

  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
  const DataPlane& plane_;
};

}  // namespace understudy::primary
