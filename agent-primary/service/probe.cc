#include "agent-primary/service/probe.h"

#include <map>
#include <string>

#include "core/exports/export_metrics.h"

namespace understudy::primary {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

struct VolumeMetric {
  const char* name;
  const char* help;
  MetricType type;
  double (*value)(const ReplicatorStatus&);
};

constexpr VolumeMetric kVolumeMetrics[] = {
    {"understudy_volume_lag_seconds", "Age of the oldest change that isn't acknowledged by DR, 0 when there is none.",
     MetricType::Gauge, [](const ReplicatorStatus& status) { return status.lag_seconds; }},
    {"understudy_volume_error", "1 while something keeps the volume from replicating.", MetricType::Gauge,
     [](const ReplicatorStatus& status) { return status.error.empty() ? 0.0 : 1.0; }},
    {"understudy_volume_complete", "1 once all of the volume has been at DR.", MetricType::Gauge,
     [](const ReplicatorStatus& status) { return status.complete ? 1.0 : 0.0; }},
    {"understudy_volume_consistency",
     "Of the state that DR has: 1 fuzzy, 2 crash-consistent, 3 quiesced, 0 not told or the midst of a capture.",
     MetricType::Gauge, [](const ReplicatorStatus& status) { return static_cast<double>(status.consistency); }},
    {"understudy_volume_sequence", "Newest commit that DR acknowledged.", MetricType::Gauge,
     [](const ReplicatorStatus& status) { return static_cast<double>(status.sequence); }},
    {"understudy_volume_published_sequence", "Newest commit that the replica's folder is known to show.",
     MetricType::Gauge, [](const ReplicatorStatus& status) { return static_cast<double>(status.published_sequence); }},
    {"understudy_volume_dirty_paths", "Paths that wait to be looked at.", MetricType::Gauge,
     [](const ReplicatorStatus& status) { return static_cast<double>(status.dirty_paths); }},
    {"understudy_volume_files", "Entries of the volume at the newest scan.", MetricType::Gauge,
     [](const ReplicatorStatus& status) { return static_cast<double>(status.files); }},
    {"understudy_volume_content_bytes_sent_total", "File content sent to DR since the agent started.",
     MetricType::Counter,
     [](const ReplicatorStatus& status) { return static_cast<double>(status.content_bytes_sent); }},
    {"understudy_volume_commits_total", "Commits acknowledged since the agent started.", MetricType::Counter,
     [](const ReplicatorStatus& status) { return static_cast<double>(status.commits); }},
};

ClientMetric MakeMetric(MetricType type, double value) {
  ClientMetric metric;
  if (type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return metric;
}

void AddObjectMetrics(const ObjectsReport& report, std::vector<MetricFamily>& families) {
  std::map<std::string, double> held = {{kClusterGuard, 0}};
  for (const model::ObjectKind kind : {model::ObjectKind::kPersistentVolume, model::ObjectKind::kPersistentVolumeClaim,
                                       model::ObjectKind::kVolumeSnapshot, model::ObjectKind::kVolumeSnapshotContent}) {
    held[GuardKindOf(kind)] = 0;
  }
  for (const ObjectGuardReport& guard : report.guards) {
    held[guard.kind] = guard.kind == kClusterGuard ? 1 : static_cast<double>(guard.gone);
  }
  MetricFamily family{
      "understudy_object_guard_held",
      "Objects whose deletion at DR is held back; for kind cluster, 1 while the cluster isn't recognised.",
      MetricType::Gauge,
      {}};
  for (const auto& [kind, count] : held) {
    ClientMetric metric = MakeMetric(MetricType::Gauge, count);
    metric.label.push_back({"kind", kind});
    family.metric.push_back(std::move(metric));
  }
  families.push_back(std::move(family));
}

}  // namespace

std::vector<MetricFamily> PrimaryProbe::Collect() const {
  std::vector<MetricFamily> families = registry_->Collect();
  const std::vector<VolumeReport> volumes = plane_.Report();
  for (const VolumeMetric& wanted : kVolumeMetrics) {
    MetricFamily family{wanted.name, wanted.help, wanted.type, {}};
    for (const VolumeReport& volume : volumes) {
      ClientMetric metric = MakeMetric(wanted.type, wanted.value(volume.status));
      metric.label.push_back({"volume", volume.name});
      family.metric.push_back(std::move(metric));
    }
    families.push_back(std::move(family));
  }
  MetricFamily guarded{"understudy_volume_guarded", "1 while this guard holds the volume back.", MetricType::Gauge, {}};
  for (const VolumeReport& volume : volumes) {
    for (const char* const kind : {kDeletionGuard, kRootGuard}) {
      const bool holds = volume.status.guard.has_value() && volume.status.guard->kind == kind;
      ClientMetric metric = MakeMetric(MetricType::Gauge, holds ? 1.0 : 0.0);
      metric.label.push_back({"volume", volume.name});
      metric.label.push_back({"kind", kind});
      guarded.metric.push_back(std::move(metric));
    }
  }
  families.push_back(std::move(guarded));
  families.push_back({"understudy_peer_connected",
                      "1 while every connection to DR's agent is up.",
                      MetricType::Gauge,
                      {MakeMetric(MetricType::Gauge, plane_.Connection().ok() ? 1.0 : 0.0)}});
  for (MetricFamily& family : exports::CollectExportMetrics(exports_)) families.push_back(std::move(family));
  if (objects_ != nullptr) AddObjectMetrics(objects_->Report(), families);
  if (more_ != nullptr) {
    for (MetricFamily& family : more_->Collect()) families.push_back(std::move(family));
  }
  return families;
}

}  // namespace understudy::primary
