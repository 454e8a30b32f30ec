#include "core/config/shared_settings.h"

namespace understudy::config {

void TlsConfig::Describe(Visitor& v) {
  v.Path({.key = "ca", .doc = "certificates of the authorities that both sides trust (PEM)", .required = true}, ca);
  v.Path({.key = "cert",
          .doc = "this program's certificate, with its chain (PEM); its role says what it may call",
          .required = true},
         cert);
  v.Path({.key = "key", .doc = "private key of `cert` (PEM, readable by the program alone)", .required = true}, key);
}

std::string_view ToString(LogLevel level) {
  return ChoiceNames<LogLevel>::kNames[static_cast<size_t>(level)];
}

void ClusterConfig::Describe(Visitor& v) {
  v.Path({.key = "kubeconfig", .doc = "kubeconfig file with which to reach the cluster"}, kubeconfig);
  v.Text({.key = "context", .doc = "context of the kubeconfig", .default_text = "its current context"}, context,
         CheckNotEmpty);
  v.Boolean({.key = "in_cluster", .doc = "use the service account of the pod that this program runs in"}, in_cluster);
}

std::optional<Problem> FindClusterProblem(const ClusterConfig& cluster, const std::string& key) {
  if (cluster.in_cluster && !cluster.kubeconfig.empty()) {
    return Problem{key + ".in_cluster", "kubeconfig is given, too: keep one of the two"};
  }
  if (!cluster.in_cluster && cluster.kubeconfig.empty()) {
    return Problem{key, "says no way to reach the cluster: write kubeconfig: FILE, or in_cluster: true"};
  }
  return std::nullopt;
}

}  // namespace understudy::config
