#include "agent-dr/service/metrics.h"

#include <map>
#include <string>
#include <utility>

#include "core/exports/export_metrics.h"

namespace understudy::dr {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr double kNanosecondsPerSecond = 1e9;

struct ReplicaMetric {
  const char* name;
  const char* help;
  double (*value)(const model::ReplicaState&);
};

constexpr ReplicaMetric kReplicaMetrics[] = {
    {"understudy_dr_replica_sequence", "Newest commit that is durable.",
     [](const model::ReplicaState& state) { return static_cast<double>(state.sequence); }},
    {"understudy_dr_replica_published_sequence", "Newest commit that the replica's folder shows.",
     [](const model::ReplicaState& state) { return static_cast<double>(state.published_sequence); }},
    {"understudy_dr_replica_epoch", "Rises with each promotion of the volume.",
     [](const model::ReplicaState& state) { return static_cast<double>(state.epoch); }},
    {"understudy_dr_replica_complete", "1 once a whole capture of the volume was committed.",
     [](const model::ReplicaState& state) { return state.complete ? 1.0 : 0.0; }},
};

struct EngineMetric {
  const char* name;
  const char* help;
  double (*value)(const Probe&);
};

constexpr EngineMetric kEngineMetrics[] = {
    {"understudy_dr_commits_total", "Commits made durable since the agent started.",
     [](const Probe& probe) { return static_cast<double>(probe.commits); }},
    {"understudy_dr_operations_total", "Operations of those commits.",
     [](const Probe& probe) { return static_cast<double>(probe.operations); }},
    {"understudy_dr_staged_bytes_total", "Bytes of large content and deltas received.",
     [](const Probe& probe) { return static_cast<double>(probe.staged_bytes); }},
    {"understudy_dr_refusals_total", "Messages of the primary that ended a volume's session.",
     [](const Probe& probe) { return static_cast<double>(probe.refusals); }},
    {"understudy_dr_publish_failures_total", "Commits that couldn't be brought into the replica's folder at once.",
     [](const Probe& probe) { return static_cast<double>(probe.publish_failures); }},
    {"understudy_dr_points_given_up_total", "Recovery points that were given up early because space was short.",
     [](const Probe& probe) { return static_cast<double>(probe.points_given_up); }},
    {"understudy_trash_purged_total", "Deleted volumes whose data was removed for good.",
     [](const Probe& probe) { return static_cast<double>(probe.trash_purged); }},
    {"understudy_dr_commit_durable_seconds_total", "Time spent until commits were durable.",
     [](const Probe& probe) { return static_cast<double>(probe.durable_nanoseconds) / kNanosecondsPerSecond; }},
    {"understudy_dr_commit_publish_seconds_total", "Time spent bringing commits into the replica's folder.",
     [](const Probe& probe) { return static_cast<double>(probe.publish_nanoseconds) / kNanosecondsPerSecond; }},
};

struct ScrubMetric {
  const char* name;
  const char* help;
  double (*value)(const ScrubProbe&);
};

constexpr ScrubMetric kScrubMetrics[] = {
    {"understudy_dr_scrub_files_total", "Files of replicas that the scrub read.",
     [](const ScrubProbe& probe) { return static_cast<double>(probe.files); }},
    {"understudy_dr_scrub_bytes_total", "Bytes of replicas that the scrub read.",
     [](const ScrubProbe& probe) { return static_cast<double>(probe.bytes); }},
    {"understudy_dr_scrub_passes_total", "Times that the scrub came through a whole replica.",
     [](const ScrubProbe& probe) { return static_cast<double>(probe.passes); }},
    {"understudy_dr_scrub_damaged_total", "Files of replicas that were found to be damaged.",
     [](const ScrubProbe& probe) { return static_cast<double>(probe.damaged); }},
    {"understudy_dr_scrub_healed_total", "Damaged files that were found to be right again.",
     [](const ScrubProbe& probe) { return static_cast<double>(probe.healed); }},
};

ClientMetric Gauge(double value) {
  ClientMetric metric;
  metric.gauge.value = value;
  return metric;
}

ClientMetric Counter(double value) {
  ClientMetric metric;
  metric.counter.value = value;
  return metric;
}

}  // namespace

void DrMetrics::AddPoints(const std::vector<model::ReplicaState>& replicas, std::vector<MetricFamily>& families) const {
  MetricFamily count{"understudy_dr_points", "States that the replica can be taken back to.", MetricType::Gauge, {}};
  MetricFamily bytes{"understudy_dr_points_bytes", "Kept for these states.", MetricType::Gauge, {}};
  for (const model::ReplicaState& state : replicas) {
    const absl::StatusOr<PointTotals> totals = engine_.TotalsOfPoints(state.volume);
    if (!totals.ok()) continue;  // it went to the trash
    count.metric.push_back(Gauge(static_cast<double>(totals->points)));
    bytes.metric.push_back(Gauge(static_cast<double>(totals->held_bytes)));
    count.metric.back().label.push_back({"volume", state.volume});
    bytes.metric.back().label.push_back({"volume", state.volume});
  }
  families.push_back(std::move(count));
  families.push_back(std::move(bytes));
}

std::vector<MetricFamily> DrMetrics::Collect() const {
  std::vector<MetricFamily> families = registry_->Collect();
  const std::vector<model::ReplicaState> replicas = engine_.List();
  for (const ReplicaMetric& wanted : kReplicaMetrics) {
    MetricFamily family{wanted.name, wanted.help, MetricType::Gauge, {}};
    for (const model::ReplicaState& state : replicas) {
      ClientMetric metric = Gauge(wanted.value(state));
      metric.label.push_back({"volume", state.volume});
      family.metric.push_back(std::move(metric));
    }
    families.push_back(std::move(family));
  }
  AddPoints(replicas, families);
  for (const EngineMetric& wanted : kEngineMetrics) {
    families.push_back({wanted.name, wanted.help, MetricType::Counter, {Counter(wanted.value(engine_.probe()))}});
  }
  for (const ScrubMetric& wanted : kScrubMetrics) {
    families.push_back({wanted.name, wanted.help, MetricType::Counter, {Counter(wanted.value(scrub_))}});
  }
  std::map<std::string, size_t> damaged;
  for (const model::ReplicaState& state : replicas) damaged[state.volume] = 0;
  for (const VolumeDamage& of_volume : damage_.List()) damaged[of_volume.volume] = of_volume.files.size();
  MetricFamily damaged_files{
      "understudy_dr_scrub_damaged_files", "Files of the replica that are damaged now.", MetricType::Gauge, {}};
  for (const auto& [volume, files] : damaged) {
    ClientMetric metric = Gauge(static_cast<double>(files));
    metric.label.push_back({"volume", volume});
    damaged_files.metric.push_back(std::move(metric));
  }
  families.push_back(std::move(damaged_files));
  families.push_back({"understudy_dr_catalog_revision",
                      "Rises with every change of the catalog.",
                      MetricType::Gauge,
                      {Gauge(static_cast<double>(catalog_.Revision()))}});
  const absl::StatusOr<Trash::Totals> trashed = engine_.trash().Sum();
  if (trashed.ok()) {
    families.push_back({"understudy_trash_volumes",
                        "Deleted volumes in the trash, those that are being purged included.",
                        MetricType::Gauge,
                        {Gauge(static_cast<double>(trashed->volumes))}});
    families.push_back({"understudy_trash_bytes",
                        "Contents of the files of deleted volumes, holes included, as far as they are counted.",
                        MetricType::Gauge,
                        {Gauge(static_cast<double>(trashed->size_bytes))}});
  }
  for (MetricFamily& family : exports::CollectExportMetrics(exports_)) families.push_back(std::move(family));
  return families;
}

}  // namespace understudy::dr
