// cluster.h: a real Kubernetes API server for a test: with etcd, the claim binder and the custom kinds, on loopback.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/base/status.h"
#include "nlohmann/json.hpp"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {

// Everything is in a folder of its own and ends with the object (and with the test, if that dies). Needs the programs
// of tests/cluster/build.sh; takes about five seconds and 0.4 GB of memory. Not thread-safe: use it from the thread
// that started it, which must live as long as the cluster does (see Process).
class Cluster {
 public:
  // Ready when it returns: the custom kinds are served, the controllers run. FAILED_PRECONDITION: the programs aren't
  // built; the message says how.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Cluster>> Start(const std::string& name);
  // Controllers first, then the API server, then etcd.
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // Paths of kubeconfig files with all rights: by client certificate, and by bearer token.
  [[nodiscard]] std::string Kubeconfig() const { return folder_.File("admin.kubeconfig"); }
  [[nodiscard]] std::string TokenKubeconfig() const { return folder_.File("token.kubeconfig"); }
  // "https://127.0.0.1:<port>", its CA, and an all-powerful bearer token.
  [[nodiscard]] std::string Url() const;
  [[nodiscard]] std::string CaFile() const { return folder_.File("pki/ca.crt"); }
  [[nodiscard]] std::string Token() const { return name_ + "-admin-token"; }
  // One JSON object a line: every request, by user.
  [[nodiscard]] std::string AuditLog() const { return folder_.File("audit.log"); }
  // For etcdctl: "127.0.0.1:<port>".
  [[nodiscard]] std::string EtcdEndpoint() const;

  // etcd forgets what was before now.
  [[nodiscard]] absl::Status Compact() const;

  // The API server alone goes away and comes back on the same port, with what etcd holds.
  void StopApi();
  [[nodiscard]] absl::Status StartApi();
  // A SIGSTOP or SIGCONT for the API server or for etcd: a server that is there and doesn't answer.
  void SignalApi(int number) { api_->Signal(number); }
  void SignalEtcd(int number) { etcd_->Signal(number); }
  void StopControllers();
  [[nodiscard]] absl::Status StartControllers();

  // One request with curl, so that no client of ours is part of the proof. `path` begins with "/api"; an answer of 404
  // is NOT_FOUND, 409 ALREADY_EXISTS, 5xx or no connection UNAVAILABLE, any other that isn't 2xx INVALID_ARGUMENT with
  // its body.
  [[nodiscard]] absl::StatusOr<nlohmann::json> Get(const std::string& path) const;
  [[nodiscard]] absl::StatusOr<nlohmann::json> Post(const std::string& path, const nlohmann::json& body) const;
  [[nodiscard]] absl::StatusOr<nlohmann::json> MergePatch(const std::string& path, const nlohmann::json& body) const;
  [[nodiscard]] absl::StatusOr<nlohmann::json> Delete(const std::string& path) const;

 private:
  explicit Cluster(std::string name) : name_(std::move(name)) {}
  [[nodiscard]] absl::Status Prepare();
  // Runs one command of tests/cluster/cluster.sh to its end.
  [[nodiscard]] absl::Status Command(const std::vector<std::string>& arguments) const;
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Process>> Run(const std::string& piece) const;
  [[nodiscard]] absl::StatusOr<nlohmann::json> Request(const std::vector<std::string>& options,
                                                       const std::string& path) const;

  const std::string name_;
  TempDir folder_;
  int api_port_ = 0;
  int etcd_port_ = 0;
  std::unique_ptr<Process> etcd_;
  std::unique_ptr<Process> api_;
  std::unique_ptr<Process> controllers_;
};

}  // namespace understudy::tests
