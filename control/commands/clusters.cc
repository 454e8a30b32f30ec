#include "control/commands/clusters.h"

#include <fmt/format.h>

namespace understudy::control {

absl::StatusOr<kube::ClusterAccess> AccessTo(const std::optional<config::ClusterConfig>& cluster,
                                             const std::string& name) {
  if (!cluster) {
    return absl::InvalidArgumentError(
        fmt::format("the configuration names no {0} cluster: write clusters: {{{0}: {{kubeconfig: FILE}}}}", name));
  }
  if (cluster->in_cluster) return kube::LoadInCluster();
  return kube::LoadKubeconfig(cluster->kubeconfig.native(), cluster->context);
}

TransformOptions TransformOptionsOf(const config::ControlConfig& config, const config::PairConfig& pair) {
  TransformOptions options;
  options.pair = pair.name;
  options.dr_server = pair.dr_server;
  options.storage_class_map = config.storage_class_map;
  options.snapshot_class_map = config.snapshot_class_map;
  options.kept_annotations = config.keep_annotations;
  return options;
}

}  // namespace understudy::control
