#include "control/commands/serve_metrics.h"

namespace understudy::control {
namespace {

struct Family {
  const char* name;
  const char* help;
  prometheus::MetricType type;
  double (*value)(const FollowerStatus&);
};

using prometheus::MetricType;

constexpr Family kFamilies[] = {
    {"understudy_apply_catalog_connected", "Whether the pair's catalog is being followed (1) or can't be reached (0).",
     MetricType::Gauge, [](const FollowerStatus& status) { return status.connected ? 1.0 : 0.0; }},
    {"understudy_apply_pending_objects",
     "Storage objects at the DR cluster that aren't yet as the pair's catalog says.", MetricType::Gauge,
     [](const FollowerStatus& status) { return static_cast<double>(status.pending); }},
    {"understudy_apply_applied_total", "Storage objects that were applied to the DR cluster.", MetricType::Counter,
     [](const FollowerStatus& status) { return static_cast<double>(status.applied); }},
    {"understudy_apply_deleted_total", "Storage objects that were deleted from the DR cluster.", MetricType::Counter,
     [](const FollowerStatus& status) { return static_cast<double>(status.deleted); }},
    {"understudy_apply_left_alone_total", "Deletions that weren't done since the object isn't Understudy's.",
     MetricType::Counter, [](const FollowerStatus& status) { return static_cast<double>(status.left_alone); }},
    {"understudy_apply_failures_total", "Attempts to apply or delete a storage object that failed.",
     MetricType::Counter, [](const FollowerStatus& status) { return static_cast<double>(status.failures); }},
};

prometheus::MetricFamily Make(const Family& family, const std::map<std::string, FollowerStatus>& statuses) {
  prometheus::MetricFamily made;
  made.name = family.name;
  made.help = family.help;
  made.type = family.type;
  for (const auto& [pair, status] : statuses) {
    prometheus::ClientMetric metric;
    metric.label.push_back({"pair", pair});
    (family.type == MetricType::Gauge ? metric.gauge.value : metric.counter.value) = family.value(status);
    made.metric.push_back(std::move(metric));
  }
  return made;
}

}  // namespace

std::vector<prometheus::MetricFamily> ServeMetrics::Collect() const {
  std::vector<prometheus::MetricFamily> families = registry_->Collect();
  const std::map<std::string, FollowerStatus> statuses = followers_();
  for (const Family& family : kFamilies) families.push_back(Make(family, statuses));
  return families;
}

}  // namespace understudy::control
