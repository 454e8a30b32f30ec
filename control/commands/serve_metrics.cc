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

// Appends a gauge with one value for each label; the values come in pairs of label and number.
class SyncFamilies {
 public:
  explicit SyncFamilies(std::vector<prometheus::MetricFamily>& families) : families_(families) {}

  void Gauge(const char* name, const char* help, double value) { Labelled(name, help, "", {{"", value}}); }
  void Labelled(const char* name, const char* help, const char* label, const std::map<std::string, double>& values) {
    prometheus::MetricFamily family;
    family.name = name;
    family.help = help;
    family.type = MetricType::Gauge;
    for (const auto& [of_label, value] : values) {
      prometheus::ClientMetric metric;
      if (*label != '\0') metric.label.push_back({label, of_label});
      metric.gauge.value = value;
      family.metric.push_back(std::move(metric));
    }
    families_.push_back(std::move(family));
  }

 private:
  std::vector<prometheus::MetricFamily>& families_;
};

double SecondsOf(absl::Time time) {
  return absl::ToDoubleSeconds(time - absl::UnixEpoch());
}

// Dry runs say nothing about the state of DR, so they don't count.
void AddSync(const SyncService::Status& status, std::vector<prometheus::MetricFamily>& families) {
  SyncFamilies sync(families);
  const auto newest = [&](bool done_only) -> const RunSummary* {
    for (const RunSummary& run : status.runs) {
      if (run.ended_at && !run.dry_run && (!done_only || run.result == "done")) return &run;
    }
    return nullptr;
  };
  if (const RunSummary* const run = newest(/*done_only=*/true)) {
    sync.Gauge("understudy_sync_last_success_timestamp_seconds",
               "When the newest run of the scheduled sync without any failure ended, in Unix time.",
               SecondsOf(*run->ended_at));
  }
  if (const RunSummary* const run = newest(/*done_only=*/false)) {
    sync.Gauge("understudy_sync_last_run_timestamp_seconds",
               "When the newest run of the scheduled sync ended, in Unix time.", SecondsOf(*run->ended_at));
    sync.Gauge("understudy_sync_last_run_duration_seconds", "How long the newest run of the scheduled sync took.",
               absl::ToDoubleSeconds(*run->ended_at - run->started_at));
    std::map<std::string, double> results;
    for (const char* const result : {"done", "partial", "failed", "unreachable", "refused"}) {
      results[result] = run->result == result ? 1 : 0;
    }
    sync.Labelled("understudy_sync_last_run_result", "How the newest run of the scheduled sync ended (1).", "result",
                  results);
    std::map<std::string, double> counts;
    for (const auto& [outcome, count] : run->counts.items()) counts[outcome] = count.get<double>();
    sync.Labelled("understudy_sync_last_run_objects", "Objects of the newest run of the scheduled sync, by outcome.",
                  "outcome", counts);
  }
  if (status.next_due) {
    sync.Gauge("understudy_sync_next_run_timestamp_seconds", "When the scheduled sync is due next, in Unix time.",
               SecondsOf(*status.next_due));
  }
  sync.Gauge("understudy_sync_running", "Whether drctl serve makes a run of the scheduled sync just now.",
             status.running ? 1 : 0);
  sync.Gauge("understudy_sync_pending_deliveries", "Reports that haven't reached a receiver yet.",
             static_cast<double>(status.pending_deliveries));
}

}  // namespace

std::vector<prometheus::MetricFamily> ServeMetrics::Collect() const {
  std::vector<prometheus::MetricFamily> families = registry_->Collect();
  const std::map<std::string, FollowerStatus> statuses = followers_();
  for (const Family& family : kFamilies) families.push_back(Make(family, statuses));
  if (const std::optional<SyncService::Status> sync = sync_()) AddSync(*sync, families);
  return families;
}

}  // namespace understudy::control
