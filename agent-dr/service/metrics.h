// metrics.h: understudy-dr's metrics, computed when they are asked for.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/registry.h>

#include <memory>
#include <vector>

#include "agent-dr/catalog/catalog_store.h"
#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/verify/damage_keeper.h"
#include "agent-dr/verify/probe.h"
#include "core/exports/export_switch.h"

namespace understudy::dr {

// The engine's, the catalog's, the exports' and the scrub's metrics after those of `registry`. All outlive it.
// Thread-safe.
class DrMetrics : public prometheus::Collectable {
 public:
  DrMetrics(std::shared_ptr<prometheus::Registry> registry, const CommitEngine& engine, const CatalogStore& catalog,
            const exports::ExportSwitch& exports, const DamageKeeper& damage, const ScrubProbe& scrub)
      : registry_(std::move(registry)),
        engine_(engine),
        catalog_(catalog),
        exports_(exports),
        damage_(damage),
        scrub_(scrub) {}

  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  void AddPoints(const std::vector<model::ReplicaState>& replicas,
                 std::vector<prometheus::MetricFamily>& families) const;

  const std::shared_ptr<prometheus::Registry> registry_;
  const CommitEngine& engine_;
  const CatalogStore& catalog_;
  const exports::ExportSwitch& exports_;
  const DamageKeeper& damage_;
  const ScrubProbe& scrub_;
};

}  // namespace understudy::dr
