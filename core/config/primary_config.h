// primary_config.h: the settings of understudy-primary (docs/reference/primary.md is generated from them).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/config/shared_settings.h"
#include "core/model/volume.h"

namespace understudy::config {

// A folder that this host exports over NFS, or any folder that holds volumes.
struct PrimaryExport {
  std::filesystem::path path;             // absolute
  std::string dr_path;                    // absolute, at DR; the same as `path` when the file doesn't say
  std::vector<std::string> server_names;  // how PersistentVolumes name this NFS server
  void Describe(Visitor& v);
};

struct ListedVolume {
  model::VolumeName name;
  std::filesystem::path path;  // absolute, within exactly one export, and not an export itself
  void Describe(Visitor& v);
};

struct PeerConfig {
  std::string address;  // host:port of understudy-dr
  void Describe(Visitor& v);
};

enum class WatchBackend { kAuto, kInotify };
template <>
struct ChoiceNames<WatchBackend> {
  static constexpr std::array<std::string_view, 2> kNames = {"auto", "inotify"};
};

struct WatchConfig {
  WatchBackend backend = WatchBackend::kAuto;
  absl::Duration quiet_period = absl::Milliseconds(100);
  absl::Duration max_delay = absl::Seconds(1);
  absl::Duration rescan_interval = absl::Hours(1);
  void Describe(Visitor& v);
};

enum class CaptureStrategy { kAuto, kWhole, kRsync };
template <>
struct ChoiceNames<CaptureStrategy> {
  static constexpr std::array<std::string_view, 3> kNames = {"auto", "whole", "rsync"};
};

struct CaptureConfig {
  CaptureStrategy strategy = CaptureStrategy::kAuto;
  bool selinux_labels = false;
  void Describe(Visitor& v);
};

// A capture that would delete more at DR is held back.
struct GuardConfig {
  double max_delete_fraction = 0.5;
  uint64_t min_files = 100;
  uint64_t min_objects = 5;
  void Describe(Visitor& v);
};

struct PrimaryKubernetes {
  ClusterConfig cluster;
  std::vector<std::string> namespaces;  // empty: all
  void Describe(Visitor& v);
};

struct PrimaryConfig {
  std::string listen = "0.0.0.0:7411";
  std::string metrics_listen = "127.0.0.1:9411";
  std::filesystem::path state_dir = "/var/lib/understudy/primary";
  LogLevel log_level = LogLevel::kInfo;
  TlsConfig tls;
  PeerConfig peer;
  std::vector<PrimaryExport> exports;
  std::vector<ListedVolume> volumes;
  WatchConfig watch;
  CaptureConfig capture;
  GuardConfig guard;
  std::optional<PrimaryKubernetes> kubernetes;
  void Describe(Visitor& v);
};

inline constexpr char kPrimaryConfigFile[] = "/etc/understudy/primary.yaml";

// Pure: looks at no file system.
[[nodiscard]] std::optional<Problem> FindProblem(const PrimaryConfig& config);

// Errors as of ReadYamlFile. The environment variable WATCH_NAMESPACES (comma-separated) stands in for
// `kubernetes.namespaces` where the file lists none.
[[nodiscard]] absl::StatusOr<PrimaryConfig> LoadPrimaryConfig(const std::string& file);

}  // namespace understudy::config
