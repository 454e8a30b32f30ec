// kube_reader.h: a cluster's storage objects, read by the Kubernetes client.
#pragma once

#include "control/sync/ports.h"
#include "core/kube/client.h"

namespace understudy::control {

class KubeReader : public ClusterReader {
 public:
  // `client` must outlive the reader.
  explicit KubeReader(const kube::Client& client) : client_(client) {}

  // UNAVAILABLE: also a list that says of itself that something is missing, and an answer of 404 that isn't the API's.
  absl::StatusOr<std::vector<nlohmann::json>> List(model::ObjectKind kind, const std::string& namespace_name,
                                                   std::stop_token stop) const override;
  absl::StatusOr<nlohmann::json> Get(const model::ObjectKey& key) const override;
  absl::StatusOr<std::string> Uid() const override { return kube::ClusterUid(client_); }

 private:
  const kube::Client& client_;
};

}  // namespace understudy::control
