// export_metrics.h: the metrics of an export switch, computed when they are asked for.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

#include "core/exports/export_switch.h"

namespace understudy::exports {

[[nodiscard]] std::vector<prometheus::MetricFamily> CollectExportMetrics(const ExportSwitch& exports);

}  // namespace understudy::exports
