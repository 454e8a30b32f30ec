// probe.h: the primary's metrics, computed when they are asked for.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/registry.h>

#include <memory>
#include <vector>

#include "agent-primary/service/object_control.h"
#include "agent-primary/ship/data_plane.h"
#include "core/exports/export_switch.h"

namespace understudy::primary {

// The volumes' and their exports' metrics after those of `registry`; when storage objects are taken in, those of their
// guards and of `more`. `plane`, `exports` and `objects` must outlive it; `objects` and `more` may be null.
// Thread-safe.
class PrimaryProbe : public prometheus::Collectable {
 public:
  PrimaryProbe(std::shared_ptr<prometheus::Registry> registry, const DataPlane& plane,
               const exports::ExportSwitch& exports, const ObjectControl* objects,
               std::shared_ptr<prometheus::Collectable> more)
      : registry_(std::move(registry)), plane_(plane), exports_(exports), objects_(objects), more_(std::move(more)) {}

  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
  const DataPlane& plane_;
  const exports::ExportSwitch& exports_;
  const ObjectControl* const objects_;
  const std::shared_ptr<prometheus::Collectable> more_;
};

}  // namespace understudy::primary
