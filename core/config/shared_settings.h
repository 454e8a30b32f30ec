// shared_settings.h: settings that more than one program has.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/config/visitor.h"

namespace understudy::config {

// PEM files of this program's identity. All three are required.
struct TlsConfig {
  std::filesystem::path ca;
  std::filesystem::path cert;
  std::filesystem::path key;
  void Describe(Visitor& v);
};

enum class LogLevel { kDebug, kInfo, kWarning, kError };
template <>
struct ChoiceNames<LogLevel> {
  static constexpr std::array<std::string_view, 4> kNames = {"debug", "info", "warning", "error"};
};
// As SetUpLog takes it.
[[nodiscard]] std::string_view ToString(LogLevel level);

// How to reach one Kubernetes cluster: `kubeconfig` or `in_cluster`, not both.
struct ClusterConfig {
  std::filesystem::path kubeconfig;
  std::string context;  // empty: the kubeconfig's current one
  bool in_cluster = false;
  void Describe(Visitor& v);
};
// `key` is the section's full key.
[[nodiscard]] std::optional<Problem> FindClusterProblem(const ClusterConfig& cluster, const std::string& key);

}  // namespace understudy::config
