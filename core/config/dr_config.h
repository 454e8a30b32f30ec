// dr_config.h: the settings of understudy-dr (docs/reference/dr.md is generated from them).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config/export_settings.h"
#include "core/config/shared_settings.h"

namespace understudy::config {

// A folder below which replicas may lie.
struct DrExport {
  std::filesystem::path path;  // absolute
  ExportSwitching switching;
  void Describe(Visitor& v);
};

// How much of each volume's past is kept.
struct PointsConfig {
  absl::Duration keep_for = absl::Hours(7 * 24);
  absl::Duration keep_all_for = absl::Minutes(15);
  absl::Duration keep_hourly_for = absl::Hours(24);
  uint64_t max_bytes = uint64_t{64} << 30;
  void Describe(Visitor& v);
};

// Deleted volumes, until they are purged.
struct TrashConfig {
  absl::Duration retain = absl::Hours(7 * 24);
  void Describe(Visitor& v);
};

// Reading the replicas through, to find what was damaged.
struct ScrubConfig {
  absl::Duration interval = absl::Hours(7 * 24);
  uint64_t rate_limit = uint64_t{32} << 20;
  void Describe(Visitor& v);
};

// The administrator's programs around a promotion (docs/hooks.md).
struct HooksConfig {
  std::filesystem::path dir = "/etc/understudy/hooks.d";
  absl::Duration timeout = absl::Minutes(1);
  void Describe(Visitor& v);
};

struct DrConfig {
  std::string listen = "0.0.0.0:7412";
  std::string metrics_listen = "127.0.0.1:9412";
  std::filesystem::path state_dir = "/var/lib/understudy/dr";
  LogLevel log_level = LogLevel::kInfo;
  TlsConfig tls;
  std::vector<DrExport> exports;
  PointsConfig points;
  TrashConfig trash;
  KnfsdConfig knfsd;
  GaneshaConfig ganesha{20'000};
  ScrubConfig scrub;
  HooksConfig hooks;
  void Describe(Visitor& v);
};

inline constexpr char kDrConfigFile[] = "/etc/understudy/dr.yaml";

// Pure: looks at no file system.
[[nodiscard]] std::optional<Problem> FindProblem(const DrConfig& config);

// Errors as of ReadYamlFile.
[[nodiscard]] absl::StatusOr<DrConfig> LoadDrConfig(const std::string& file);

}  // namespace understudy::config
