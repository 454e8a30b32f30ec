#include "core/config/control_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/config/yaml_reader.h"

namespace understudy::config {
namespace {

// "nfs2.example.com" of "nfs2.example.com:7412", "fd00::2" of "[fd00::2]:7412".
std::string HostOf(const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  return host.starts_with('[') ? host.substr(1, host.size() - 2) : host;
}

}  // namespace

void ReverseAgents::Describe(Visitor& v) {
  v.Text({.key = "primary", .doc = "host:port of understudy-primary at DR's host", .required = true}, primary,
         CheckAddress);
  v.Text({.key = "dr", .doc = "host:port of understudy-dr at the primary's host", .required = true}, dr, CheckAddress);
}

void PairConfig::Describe(Visitor& v) {
  v.Text({.key = "name", .doc = "the pair's name, unique here", .required = true}, name, CheckNotEmpty);
  v.Text({.key = "primary", .doc = "host:port of understudy-primary", .required = true}, primary, CheckAddress);
  v.Text({.key = "dr", .doc = "host:port of understudy-dr", .required = true}, dr, CheckAddress);
  v.TextList({.key = "server_names",
              .doc = "NFS servers, as the primary cluster names them, whose storage objects are taken from this pair; "
                     "with `reverse`, PersistentVolumes that are brought to the primary cluster name the first one, or "
                     "without any the host of `primary`, which understudy-primary has to know in "
                     "`exports[].server_names`",
              .default_text = "any"},
             server_names, CheckNotEmpty);
  v.Text({.key = "dr_server",
          .doc = "NFS server that PersistentVolumes at the DR cluster name",
          .default_text = "the host of `dr`"},
         dr_server, CheckNotEmpty);
  v.Section({.key = "reverse", .doc = "the agents that carry the replication of volumes that were turned round"},
            reverse);
}

PairConfig Reversed(const PairConfig& pair) {
  return {.name = pair.name,
          .primary = pair.reverse->primary,
          .dr = pair.reverse->dr,
          .server_names = {pair.dr_server},
          .dr_server = pair.server_names.empty() ? HostOf(pair.primary) : pair.server_names.front(),
          .reverse = ReverseAgents{.primary = pair.primary, .dr = pair.dr}};
}

void ControlClusters::Describe(Visitor& v) {
  v.Section({.key = "primary", .doc = "the primary cluster, of which the scheduled sync reads storage objects"},
            primary);
  v.Section({.key = "dr", .doc = "the DR cluster, on which storage objects are kept ready"}, dr);
}

void ControlConfig::Describe(Visitor& v) {
  v.Section(
      {.key = "tls", .doc = "identity towards the agents; its certificate needs the role `control`", .required = true},
      tls);
  v.List({.key = "pairs", .doc = "the pairs of NFS hosts", .required = true}, pairs);
  v.Section({.key = "clusters", .doc = "the clusters; `drctl serve` needs `dr`, the scheduled sync both"}, clusters);
  v.TextList({.key = "namespaces",
              .doc = "whose claims and snapshots the scheduled sync brings across",
              .default_text = "all"},
             namespaces, CheckNotEmpty);
  v.TextMap(
      {.key = "storage_class_map", .doc = "storage class at the primary: storage class at DR; others keep their name"},
      storage_class_map);
  v.TextMap({.key = "snapshot_class_map",
             .doc = "VolumeSnapshotClass at the primary: VolumeSnapshotClass at DR; others keep their name"},
            snapshot_class_map);
  v.TextList(
      {.key = "keep_annotations", .doc = "annotations of storage objects that are kept at DR; all others are dropped"},
      keep_annotations, CheckNotEmpty);
  v.Path({.key = "state_dir", .doc = "folder for runs and reports; made with mode 0700 when missing"}, state_dir);
  v.Section({.key = "schedule", .doc = "when the scheduled sync runs"}, schedule);
  v.Section({.key = "sync", .doc = "how the scheduled sync runs"}, sync);
  v.Section({.key = "stale", .doc = "what the scheduled sync deletes at DR"}, stale);
  v.Section({.key = "notify", .doc = "who gets the reports of runs"}, notify);
  v.Section({.key = "oadp", .doc = "the backups of the primary cluster, which a failover needs"}, oadp);
  v.Section({.key = "failover", .doc = "failover plans"}, failover);
  v.Text({.key = "metrics_listen", .doc = "host:port for /metrics, /healthz and /readyz of `drctl serve` (plain HTTP)"},
         metrics_listen, CheckAddress);
  v.Choice({.key = "log_level", .doc = "the least important message that `drctl serve` logs"}, log_level);
}

std::optional<Problem> FindProblem(const ControlConfig& config) {
  for (size_t i = 0; i < config.pairs.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (config.pairs[i].name == config.pairs[j].name) {
        return Problem{fmt::format("pairs[{}].name", i),
                       fmt::format("'{}' is pairs[{}], too: names must differ", config.pairs[i].name, j)};
      }
    }
  }
  if (config.clusters.primary) {
    if (auto problem = FindClusterProblem(*config.clusters.primary, "clusters.primary")) return problem;
  }
  if (config.clusters.dr) {
    if (auto problem = FindClusterProblem(*config.clusters.dr, "clusters.dr")) return problem;
  }
  if (config.oadp) {
    if (auto problem = FindOadpProblem(*config.oadp)) return problem;
  }
  FailoverSurroundings surroundings{.namespaces = config.namespaces,
                                    .has_oadp = config.oadp.has_value(),
                                    .has_dr_cluster = config.clusters.dr.has_value()};
  for (const PairConfig& pair : config.pairs) surroundings.pairs.push_back(pair.name);
  if (auto problem = FindFailoverProblem(config.failover, surroundings)) return problem;
  return FindNotifyProblem(config.notify);
}

absl::StatusOr<ControlConfig> LoadControlConfig(const std::string& file) {
  ControlConfig config;
  RETURN_IF_ERROR(ReadYamlFile(
      file, [&](Visitor& v) { config.Describe(v); }, [&] { return FindProblem(config); }));
  for (PairConfig& pair : config.pairs) {
    if (pair.dr_server.empty()) pair.dr_server = HostOf(pair.dr);
  }
  for (FailoverPlanConfig& plan : config.failover.plans) {
    if (plan.namespaces.empty() && plan.volumes.empty()) plan.namespaces = config.namespaces;
  }
  return config;
}

}  // namespace understudy::config
