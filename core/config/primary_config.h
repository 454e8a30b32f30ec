// primary_config.h: the settings of understudy-primary (docs/reference/primary.md is generated from them).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/config/export_settings.h"
#include "core/config/rules_file.h"
#include "core/config/shared_settings.h"
#include "core/model/volume.h"

namespace understudy::config {

// A folder that this host exports over NFS, or any folder that holds volumes.
struct PrimaryExport {
  std::filesystem::path path;             // absolute
  std::string dr_path;                    // absolute, at DR; the same as `path` when the file doesn't say
  std::vector<std::string> server_names;  // how PersistentVolumes name this NFS server
  ExportSwitching switching;
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

enum class WatchBackend { kAuto, kFanotify, kInotify };
template <>
struct ChoiceNames<WatchBackend> {
  static constexpr std::array<std::string_view, 3> kNames = {"auto", "fanotify", "inotify"};
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

struct WebhookTls {
  std::filesystem::path cert;
  std::filesystem::path key;
  void Describe(Visitor& v);
};

// Where a forwarder posts object events.
struct WebhookConfig {
  std::string listen = "127.0.0.1:7413";
  std::filesystem::path token_file;
  std::filesystem::path hmac_secret_file;  // empty: bodies needn't be signed
  uint64_t max_body = uint64_t{1} << 20;   // bytes
  std::optional<WebhookTls> tls;           // nullopt: plain HTTP
  std::vector<std::string> namespaces;     // empty: all
  void Describe(Visitor& v);
};

// To whom object events are posted.
struct ForwardTarget {
  std::string name;  // unique; never empty once loaded
  std::string url;
  std::filesystem::path token_file;        // empty: no token
  std::filesystem::path hmac_secret_file;  // empty: not signed
  std::filesystem::path ca;                // empty: the system's authorities
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
  std::optional<WebhookConfig> webhook;
  std::vector<ForwardTarget> forward;
  KnfsdConfig knfsd;
  GaneshaConfig ganesha{30'000};
  std::filesystem::path rules_file;  // empty: the built-in rules
  std::vector<Rule> rules;           // of that file, once loaded; no setting of its own
  void Describe(Visitor& v);
};

inline constexpr char kPrimaryConfigFile[] = "/etc/understudy/primary.yaml";

// Pure: looks at no file system.
[[nodiscard]] std::optional<Problem> FindProblem(const PrimaryConfig& config);

// Errors as of ReadYamlFile, of the file itself or of its rules_file. The environment variable WATCH_NAMESPACES
// (comma-separated) stands in for `kubernetes.namespaces` where the file lists none, and those for
// `webhook.namespaces`.
[[nodiscard]] absl::StatusOr<PrimaryConfig> LoadPrimaryConfig(const std::string& file);

}  // namespace understudy::config
