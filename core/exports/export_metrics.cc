#include "core/exports/export_metrics.h"

#include <string>
#include <utility>

namespace understudy::exports {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Counter(std::string name, std::string help, uint64_t value) {
  ClientMetric metric;
  metric.counter.value = static_cast<double>(value);
  return {std::move(name), std::move(help), MetricType::Counter, {std::move(metric)}};
}

}  // namespace

std::vector<MetricFamily> CollectExportMetrics(const ExportSwitch& exports) {
  MetricFamily off{"understudy_export_off",
                   "1 while the NFS server doesn't do with the volume what is desired.",
                   MetricType::Gauge,
                   {}};
  MetricFamily writable{"understudy_export_writable",
                        "1 while NFS clients may write to the volume, by whoever's export.",
                        MetricType::Gauge,
                        {}};
  const auto add = [](MetricFamily& family, const std::string& volume, bool value) {
    ClientMetric metric;
    metric.label.push_back({"volume", volume});
    metric.gauge.value = value ? 1 : 0;
    family.metric.push_back(std::move(metric));
  };
  for (const model::ExportState& state : exports.List()) {
    add(off, state.name, !state.AsDesired());
    if (state.actual) add(writable, state.name, *state.actual == model::ExportMode::kReadWrite);
  }
  const ExportSwitch::Counts counts = exports.counts();
  std::vector<MetricFamily> families;
  families.push_back(std::move(off));
  families.push_back(std::move(writable));
  families.push_back(Counter("understudy_export_changes_total",
                             "Changes of what is desired of an export since the agent started.", counts.changes));
  families.push_back(Counter("understudy_export_failures_total",
                             "Times that an NFS server couldn't be asked or told since the agent started.",
                             counts.failures));
  return families;
}

}  // namespace understudy::exports
