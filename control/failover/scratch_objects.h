// scratch_objects.h: the namespaces and objects that a rehearsal makes on the cluster that takes over.
#pragma once

#include "control/failover/ports.h"
#include "core/kube/client.h"

namespace understudy::control {

// On everything that a rehearsal makes itself: the run's id.
inline constexpr char kTestRunLabel[] = "understudy.io/test-run";

class KubeScratch : public ScratchObjects {
 public:
  // `client` must outlive it.
  explicit KubeScratch(const kube::Client& client) : client_(client) {}

  absl::Status EnsureNamespace(const std::string& run, const std::string& name) override;
  absl::StatusOr<bool> HasNamespace(const std::string& name) override;
  absl::Status Put(const std::string& run, const nlohmann::json& manifest) override;
  absl::StatusOr<size_t> Remove(const std::string& run, std::stop_token stop) override;

 private:
  [[nodiscard]] absl::StatusOr<size_t> RemoveAll(const kube::Resource& resource, const std::string& run,
                                                 std::stop_token stop);

  const kube::Client& client_;
};

}  // namespace understudy::control
