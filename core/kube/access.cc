#include "core/kube/access.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/escaping.h"

namespace understudy::kube {
namespace {

// The entry called `name` of the list `section`, below its `key`; an undefined node when there is none.
YAML::Node FindNamed(const YAML::Node& root, const char* section, const std::string& name, const char* key) {
  for (const YAML::Node& item : root[section]) {
    if (item["name"].as<std::string>("") == name) return item[key];
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

std::string Text(const YAML::Node& node, const char* key) {
  return node[key].as<std::string>("");
}

// A kubeconfig while it is read.
class Reader {
 public:
  Reader(std::string path, const YAML::Node& root) : path_(std::move(path)), root_(root) {}

  absl::StatusOr<ClusterAccess> Read(const std::string& wanted_context) {
    if (!root_.IsMap() || !root_["clusters"]) return Invalid("isn't a kubeconfig: it has no clusters");
    const std::string context_name = wanted_context.empty() ? Text(root_, "current-context") : wanted_context;
    if (context_name.empty()) return Invalid("has no current-context: name a context in the configuration");
    const YAML::Node context = FindNamed(root_, "contexts", context_name, "context");
    if (!context.IsDefined()) {
      return absl::NotFoundError(fmt::format("kubeconfig {}: no context '{}'", path_, context_name));
    }
    access_.origin = fmt::format("kubeconfig {}, context {}", path_, context_name);
    const YAML::Node cluster = FindNamed(root_, "clusters", Text(context, "cluster"), "cluster");
    if (!cluster.IsDefined()) return Invalid(fmt::format("has no cluster '{}'", Text(context, "cluster")));
    RETURN_IF_ERROR(ReadCluster(cluster));
    if (const std::string user_name = Text(context, "user"); !user_name.empty()) {
      const YAML::Node user = FindNamed(root_, "users", user_name, "user");
      if (!user.IsDefined()) return Invalid(fmt::format("has no user '{}'", user_name));
      RETURN_IF_ERROR(ReadUser(user_name, user));
    }
    return access_;
  }

 private:
  absl::Status Invalid(std::string_view what) const {
    return absl::InvalidArgumentError(fmt::format("kubeconfig {} {}", path_, what));
  }

  std::string FilePath(const std::string& value) const {
    if (value.empty()) return value;
    return (std::filesystem::absolute(path_).parent_path() / value).lexically_normal().string();
  }

  // Takes `key`-data, base64, or else the file that `key` names.
  absl::Status ReadPem(const YAML::Node& node, const std::string& key, std::string& pem, std::string& file) const {
    if (const std::string encoded = Text(node, (key + "-data").c_str()); !encoded.empty()) {
      if (absl::Base64Unescape(encoded, &pem)) return absl::OkStatus();
      return Invalid(fmt::format("has a {}-data that isn't base64", key));
    }
    file = FilePath(Text(node, key.c_str()));
    return absl::OkStatus();
  }

  absl::Status ReadCluster(const YAML::Node& cluster) {
    access_.server = Text(cluster, "server");
    while (access_.server.ends_with('/')) access_.server.pop_back();
    if (!access_.server.starts_with("https://") && !access_.server.starts_with("http://")) {
      return Invalid(fmt::format("names the server '{}': an https URL is needed", access_.server));
    }
    access_.tls.verify_server = !cluster["insecure-skip-tls-verify"].as<bool>(false);
    return ReadPem(cluster, "certificate-authority", access_.tls.ca_pem, access_.tls.ca_file);
  }

  absl::Status ReadUser(const std::string& name, const YAML::Node& user) {
    for (const char* way : {"exec", "auth-provider", "username"}) {
      if (!user[way]) continue;
      return absl::UnimplementedError(
          fmt::format("kubeconfig {}: user '{}' signs in by '{}', which isn't supported: give it a client certificate, "
                      "a token or a tokenFile (a service account's token, for instance)",
                      path_, name, way));
    }
    RETURN_IF_ERROR(ReadPem(user, "client-certificate", access_.tls.certificate_pem, access_.tls.certificate_file));
    RETURN_IF_ERROR(ReadPem(user, "client-key", access_.tls.key_pem, access_.tls.key_file));
    access_.token_file = FilePath(Text(user, "tokenFile"));
    if (access_.token_file.empty()) access_.token = Text(user, "token");
    return absl::OkStatus();
  }

  const std::string path_;
  const YAML::Node root_;
  ClusterAccess access_;
};

}  // namespace

absl::StatusOr<ClusterAccess> LoadKubeconfig(const std::string& path, const std::string& context) {
  try {
    return Reader(path, YAML::LoadFile(path)).Read(context);
  } catch (const YAML::BadFile&) {
    return absl::NotFoundError(
        fmt::format("kubeconfig {}: can't be read; is the path right, and may it be read?", path));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(fmt::format("kubeconfig {}: {}", path, error.what()));
  }
}

absl::StatusOr<ClusterAccess> LoadInCluster(const std::string& folder) {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr) {
    return absl::FailedPreconditionError(
        "in_cluster is set, but KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT aren't: this doesn't run in a pod; "
        "use a kubeconfig");
  }
  std::error_code error;
  if (!std::filesystem::exists(folder + "/token", error)) {
    return absl::FailedPreconditionError(
        fmt::format("in_cluster is set, but {}/token isn't there: the pod has no service account token", folder));
  }
  const bool ipv6 = std::string_view(host).find(':') != std::string_view::npos;
  ClusterAccess access;
  access.server = ipv6 ? fmt::format("https://[{}]:{}", host, port) : fmt::format("https://{}:{}", host, port);
  access.tls.ca_file = folder + "/ca.crt";
  access.token_file = folder + "/token";
  access.origin = "in-cluster service account";
  return access;
}

}  // namespace understudy::kube
