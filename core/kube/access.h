// access.h: how to reach a cluster and as whom: from a kubeconfig file, or from inside a pod.
#pragma once

#include <string>

#include "core/base/status.h"
#include "core/net/http_client.h"

namespace understudy::kube {

struct ClusterAccess {
  std::string server;  // "https://host:port", perhaps with a path; no trailing slash
  net::HttpTls tls;
  std::string token;       // bearer token; empty when none or when it is in a file
  std::string token_file;  // read again every minute and on 401: a bound token lives about an hour
  std::string origin;      // "kubeconfig FILE, context NAME": for messages
};

// `context` empty: the file's current-context. Paths in the file are relative to its folder. NOT_FOUND: no such file or
// context. INVALID_ARGUMENT: not a usable kubeconfig. UNIMPLEMENTED: the user signs in by an exec plugin, an
// auth-provider or a password.
[[nodiscard]] absl::StatusOr<ClusterAccess> LoadKubeconfig(const std::string& path, const std::string& context);

// The API server as a pod sees it. `folder` is that of the service account. FAILED_PRECONDITION: not in a pod.
[[nodiscard]] absl::StatusOr<ClusterAccess> LoadInCluster(
    const std::string& folder = "/var/run/secrets/kubernetes.io/serviceaccount");

}  // namespace understudy::kube
