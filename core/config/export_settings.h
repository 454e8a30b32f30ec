// export_settings.h: how NFS exports are switched, as both agents' files say it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config/visitor.h"

namespace understudy::config {

// What switches an export between read-only and read-write.
enum class ExportBackend { kNone, kKnfsd, kGanesha };
template <>
struct ChoiceNames<ExportBackend> {
  static constexpr std::array<std::string_view, 3> kNames = {"none", "knfsd", "ganesha"};
};

// Of the volumes below one folder: three settings of an element of `exports`.
struct ExportSwitching {
  ExportBackend backend = ExportBackend::kNone;
  std::vector<std::string> clients;
  std::vector<std::string> options;  // as the file has them; each may hold several, separated by commas
  void Describe(Visitor& v);
  // One option each.
  [[nodiscard]] std::vector<std::string> SingleOptions() const;
};
// `key` is the element's full key.
[[nodiscard]] std::optional<Problem> FindSwitchingProblem(const ExportSwitching& switching, const std::string& key);

// Where the kernel's NFS server has what an agent needs.
struct KnfsdConfig {
  std::filesystem::path exports_dir = "/etc/exports.d";
  std::filesystem::path exportfs = "/usr/sbin/exportfs";
  std::filesystem::path etab = "/var/lib/nfs/etab";
  absl::Duration timeout = absl::Seconds(20);
  void Describe(Visitor& v);
};

// Where NFS-Ganesha has it. Agents of one host need ranges of ids that differ.
struct GaneshaConfig {
  explicit GaneshaConfig(uint64_t first_id) : first_export_id(first_id) {}
  std::filesystem::path config_dir = "/etc/ganesha";
  std::string bus_address;  // empty: the system bus
  uint64_t first_export_id;
  uint64_t export_ids = 10'000;
  absl::Duration timeout = absl::Seconds(10);
  void Describe(Visitor& v);
};
[[nodiscard]] std::optional<Problem> FindGaneshaProblem(const GaneshaConfig& ganesha);

inline constexpr uint64_t kMaxGaneshaExportId = 65'535;

// What stands in Ganesha's file for one option of exports(5): "Squash = No_Root_Squash"; empty: what it does in any
// case. INVALID_ARGUMENT, with those there are: it has no counterpart.
[[nodiscard]] absl::StatusOr<std::string> GaneshaSettingFor(const std::string& option);

}  // namespace understudy::config
