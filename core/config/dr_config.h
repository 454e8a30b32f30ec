// dr_config.h: the settings of understudy-dr (docs/reference/dr.md is generated from them).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config/shared_settings.h"

namespace understudy::config {

// What switches an export between read-only and read-write at a promotion.
enum class ExportBackend { kNone };
template <>
struct ChoiceNames<ExportBackend> {
  static constexpr std::array<std::string_view, 1> kNames = {"none"};
};

// A folder below which replicas may lie.
struct DrExport {
  std::filesystem::path path;  // absolute
  ExportBackend backend = ExportBackend::kNone;
  void Describe(Visitor& v);
};

// How much of each volume's past is kept.
struct PointsConfig {
  absl::Duration keep_for = absl::Hours(24);
  uint64_t max_bytes = uint64_t{64} << 30;
  void Describe(Visitor& v);
};

// Deleted volumes, until they are purged.
struct TrashConfig {
  absl::Duration retain = absl::Hours(7 * 24);
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
  HooksConfig hooks;
  void Describe(Visitor& v);
};

inline constexpr char kDrConfigFile[] = "/etc/understudy/dr.yaml";

// Pure: looks at no file system.
[[nodiscard]] std::optional<Problem> FindProblem(const DrConfig& config);

// Errors as of ReadYamlFile.
[[nodiscard]] absl::StatusOr<DrConfig> LoadDrConfig(const std::string& file);

}  // namespace understudy::config
