// probe.h: the primary's metrics, computed when they are asked for.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/registry.h>

#include <memory>
#include <vector>

#include "agent-primary/service/object_control.h"
#include "agent-primary/ship/data_plane.h"

namespace understudy::primary {

// The volumes' metrics, and the storage objects' when they are taken in, after those of `registry`. `plane` and
// `objects` must outlive it; `objects` may be nullptr. Thread-safe.
class PrimaryProbe : public prometheus::Collectable {
 public:
  PrimaryProbe(std::shared_ptr<prometheus::Registry> registry, const DataPlane& plane, const ObjectControl* objects)
      : registry_(std::move(registry)), plane_(plane), objects_(objects) {}

  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
  const DataPlane& plane_;
  const ObjectControl* const objects_;
};

}  // namespace understudy::primary
