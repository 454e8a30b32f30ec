#include "control/commands/clusters.h"

#include <fmt/format.h>

#include <map>

namespace understudy::control {
namespace {

std::map<std::string, std::string> Inverse(const std::map<std::string, std::string>& map) {
  std::map<std::string, std::string> inverse;
  for (const auto& [name, at_dr] : map) inverse.emplace(at_dr, name);
  return inverse;
}

}  // namespace

absl::StatusOr<kube::ClusterAccess> AccessTo(const std::optional<config::ClusterConfig>& cluster,
                                             const std::string& name) {
  if (!cluster) {
    return absl::InvalidArgumentError(
        fmt::format("the configuration names no {0} cluster: write clusters: {{{0}: {{kubeconfig: FILE}}}}", name));
  }
  if (cluster->in_cluster) return kube::LoadInCluster();
  return kube::LoadKubeconfig(cluster->kubeconfig.native(), cluster->context);
}

TransformOptions TransformOptionsOf(const config::ControlConfig& config, const config::PairConfig& pair,
                                    Direction direction) {
  const bool back = direction == Direction::kToPrimary;
  TransformOptions options;
  options.pair = pair.name;
  options.dr_server = back && pair.reverse ? config::Reversed(pair).dr_server : pair.dr_server;
  options.storage_class_map = back ? Inverse(config.storage_class_map) : config.storage_class_map;
  options.snapshot_class_map = back ? Inverse(config.snapshot_class_map) : config.snapshot_class_map;
  options.kept_annotations = config.keep_annotations;
  return options;
}

}  // namespace understudy::control
