#include "agent-primary/intake/probe.h"

#include <prometheus/metric_family.h>

#include <string>
#include <utility>

namespace understudy::primary {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<std::pair<std::string, std::string>>;

void Add(MetricFamily& family, double value, const Labels& labels = {}) {
  ClientMetric metric;
  if (family.type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  for (const auto& [name, text] : labels) metric.label.push_back({name, text});
  family.metric.push_back(std::move(metric));
}

MetricFamily Single(const char* name, const char* help, MetricType type, double value) {
  MetricFamily family{name, help, type, {}};
  Add(family, value);
  return family;
}

void AddEvents(const PipelineCounters& counters, std::vector<MetricFamily>& families) {
  MetricFamily events{
      "understudy_events_total", "Object events that came in, without repeats.", MetricType::Counter, {}};
  for (const auto& [of, count] : counters.events) {
    Add(events, static_cast<double>(count),
        {{"source", std::string(ToString(of.first))}, {"type", std::string(ToString(of.second))}});
  }
  MetricFamily repeats{
      "understudy_events_repeated_total", "Object events that had come in before.", MetricType::Counter, {}};
  for (const auto& [source, count] : counters.repeats) {
    Add(repeats, static_cast<double>(count), {{"source", std::string(ToString(source))}});
  }
  MetricFamily rules{"understudy_rule_matches_total",
                     "Object events by the rules that held for them; empty: none.",
                     MetricType::Counter,
                     {}};
  for (const auto& [names, count] : counters.rules) Add(rules, static_cast<double>(count), {{"rules", names}});
  families.push_back(std::move(events));
  families.push_back(std::move(repeats));
  families.push_back(std::move(rules));
  families.push_back(Single("understudy_event_log_failures_total", "Times that the event log couldn't be written.",
                            MetricType::Counter, static_cast<double>(counters.log_failures)));
}

void AddLog(EventLog& log, std::vector<MetricFamily>& families) {
  const absl::StatusOr<EventLog::Size> size = log.Measure();
  if (!size.ok()) return;
  families.push_back(Single("understudy_event_log_events", "Events in the log.", MetricType::Gauge,
                            static_cast<double>(size->events)));
  families.push_back(Single("understudy_event_log_kept_events",
                            "Events that are pending, or that a restart needs: they aren't thinned out.",
                            MetricType::Gauge, static_cast<double>(size->kept)));
  families.push_back(Single("understudy_event_log_bytes", "What the events in the log take.", MetricType::Gauge,
                            static_cast<double>(size->bytes)));
}

void AddActions(const ActionRunnerStatus& status, std::vector<MetricFamily>& families) {
  families.push_back(Single("understudy_objects_pending",
                            "Storage objects with something left to do before DR's catalog is as the cluster.",
                            MetricType::Gauge, static_cast<double>(status.pending)));
  families.push_back(Single("understudy_actions_waiting", "Claims and snapshots whose data isn't across.",
                            MetricType::Gauge, static_cast<double>(status.waiting)));
  families.push_back(Single("understudy_actions_failures_total", "Tries that failed.", MetricType::Counter,
                            static_cast<double>(status.failures)));
}

void AddWatch(const std::vector<KindStatus>& kinds, std::vector<MetricFamily>& families) {
  MetricFamily following{
      "understudy_watch_synced", "1 while the kind is followed on the primary cluster.", MetricType::Gauge, {}};
  for (const KindStatus& kind : kinds) {
    Add(following, kind.synced ? 1 : 0, {{"kind", std::string(model::ToString(kind.kind))}});
  }
  families.push_back(std::move(following));
}

void AddWebhook(const std::map<int, uint64_t>& answers, std::vector<MetricFamily>& families) {
  MetricFamily family{"understudy_webhook_requests_total",
                      "Requests to the webhook by the HTTP status of the answer.",
                      MetricType::Counter,
                      {}};
  for (const auto& [status, count] : answers) {
    Add(family, static_cast<double>(count), {{"code", std::to_string(status)}});
  }
  families.push_back(std::move(family));
}

struct TargetMetric {
  const char* name;
  const char* help;
  MetricType type;
  double (*value)(const ForwardTargetStatus&);
};

constexpr TargetMetric kTargetMetrics[] = {
    {"understudy_forward_queued_events", "Events that wait to be posted to the target.", MetricType::Gauge,
     [](const ForwardTargetStatus& status) { return static_cast<double>(status.queued); }},
    {"understudy_forward_oldest_seconds", "How long the oldest of them has waited.", MetricType::Gauge,
     [](const ForwardTargetStatus& status) { return status.oldest_seconds; }},
    {"understudy_forward_delivered_total", "Events that the target took.", MetricType::Counter,
     [](const ForwardTargetStatus& status) { return static_cast<double>(status.delivered); }},
    {"understudy_forward_refused_total", "Events that were given up because the target refused them.",
     MetricType::Counter, [](const ForwardTargetStatus& status) { return static_cast<double>(status.refused); }},
    {"understudy_forward_dropped_total", "Events that went because the target's queue was full.", MetricType::Counter,
     [](const ForwardTargetStatus& status) { return static_cast<double>(status.dropped); }},
    {"understudy_forward_failures_total", "Tries to post to the target that failed.", MetricType::Counter,
     [](const ForwardTargetStatus& status) { return static_cast<double>(status.failures); }},
};

void AddForwarding(const std::vector<ForwardTargetStatus>& targets, std::vector<MetricFamily>& families) {
  for (const TargetMetric& wanted : kTargetMetrics) {
    MetricFamily family{wanted.name, wanted.help, wanted.type, {}};
    for (const ForwardTargetStatus& target : targets) Add(family, wanted.value(target), {{"target", target.name}});
    families.push_back(std::move(family));
  }
}

}  // namespace

std::vector<MetricFamily> IntakeProbe::Collect() const {
  std::vector<MetricFamily> families;
  AddEvents(parts_.pipeline->Counters(), families);
  AddLog(*parts_.log, families);
  AddActions(parts_.runner->Status(), families);
  if (parts_.watch != nullptr) AddWatch(parts_.watch->Status(), families);
  if (parts_.webhook != nullptr) AddWebhook(parts_.webhook->Answers(), families);
  if (parts_.forwarder != nullptr) AddForwarding(parts_.forwarder->Status(), families);
  return families;
}

}  // namespace understudy::primary
