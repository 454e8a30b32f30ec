// control_config.h: the settings of drctl, and of drctl serve (docs/reference/control.md is generated from them).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/config/failover_settings.h"
#include "core/config/oadp_settings.h"
#include "core/config/shared_settings.h"
#include "core/config/sync_settings.h"

namespace understudy::config {

// The agents that carry a pair's replication the other way.
struct ReverseAgents {
  std::string primary;  // host:port of understudy-primary at DR's host
  std::string dr;       // host:port of understudy-dr at the primary's host
  void Describe(Visitor& v);
};

struct PairConfig {
  std::string name;
  std::string primary;  // host:port of understudy-primary
  std::string dr;       // host:port of understudy-dr
  std::vector<std::string>
      server_names;       // NFS servers of the primary cluster whose volumes this pair holds; empty: any
  std::string dr_server;  // NFS server that PersistentVolumes at DR name; never empty once loaded
  std::optional<ReverseAgents> reverse{};
  void Describe(Visitor& v);
};
// The pair the other way round: its `reverse` agents in the place of its own, and the NFS server names of either side
// in the place of the other's. The pair has to have `reverse` agents.
[[nodiscard]] PairConfig Reversed(const PairConfig& pair);

struct ControlClusters {
  std::optional<ClusterConfig> primary;
  std::optional<ClusterConfig> dr;
  void Describe(Visitor& v);
};

struct ControlConfig {
  std::string metrics_listen = "127.0.0.1:9413";
  LogLevel log_level = LogLevel::kInfo;
  std::filesystem::path state_dir = "/var/lib/understudy/control";
  TlsConfig tls;
  std::vector<PairConfig> pairs;
  ControlClusters clusters;
  std::vector<std::string> namespaces;                    // that a scheduled sync brings across; empty: all
  std::map<std::string, std::string> storage_class_map;   // storage class at the primary to the one at DR
  std::map<std::string, std::string> snapshot_class_map;  // and of VolumeSnapshotClasses
  std::vector<std::string> keep_annotations = {"cdi.kubevirt.io/storage.contentType",
                                               "cdi.kubevirt.io/storage.preallocation"};
  ScheduleConfig schedule;
  SyncConfig sync;
  StaleConfig stale;
  NotifyConfig notify;
  FailoverConfig failover;
  std::optional<OadpConfig> oadp;
  void Describe(Visitor& v);
};

inline constexpr char kControlConfigFile[] = "/etc/understudy/control.yaml";

// Pure: looks at no file system.
[[nodiscard]] std::optional<Problem> FindProblem(const ControlConfig& config);

// Errors as of ReadYamlFile.
[[nodiscard]] absl::StatusOr<ControlConfig> LoadControlConfig(const std::string& file);

}  // namespace understudy::config
