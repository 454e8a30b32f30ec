// kubevirt_player.h: plays KubeVirt at a real API server: brings and ends the instances of VirtualMachines, and serves
// the subresources stop, start and guestosinfo.
//
// Like the real one: run strategies and spec.running; stop and start by request where the strategy has it so, with the
// same refusals (409); printableStatus, conditions, phase and addresses; a claim that is missing (ErrorPvcNotFound) or
// isn't bound (WaitingForVolumeBinding). Left out: pods and nodes, DataVolumes (their name is taken for the claim's),
// migration, pausing, freezing, crashes and RerunOnFailure's second run, the webhooks that check a VirtualMachine, and
// deletion in the background (an instance goes at once, or never).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "control/vm/virtual_machines.h"
#include "core/base/status.h"
#include "core/kube/client.h"
#include "nlohmann/json.hpp"
#include "tests/support/http_test_server.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {

// Annotations of a VirtualMachine that a test gives.
inline constexpr char kBrokenAnnotation[] = "tests.understudy.io/broken";  // the printableStatus in place of running
inline constexpr char kAgentAnnotation[] = "tests.understudy.io/agent";    // "true": the guest agent connects
inline constexpr char kAddressAnnotation[] = "tests.understudy.io/ip";     // the instance's address
inline constexpr char kHangsAnnotation[] = "tests.understudy.io/hangs";    // "true": the guest never shuts down

// Works from Start until it is destroyed, on a thread of its own. Thread-safe.
class KubeVirtPlayer {
 public:
  struct Options {
    // False: as on a cluster that doesn't serve subresources.kubevirt.io; they answer 404.
    bool serve_subresources = true;
  };
  // Returns when the subresources are served. The API server has to have KubeVirt's kinds.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<KubeVirtPlayer>> Start(const kube::ClusterAccess& access,
                                                                             const Options& options);
  static absl::StatusOr<std::unique_ptr<KubeVirtPlayer>> Start(const kube::ClusterAccess& access) {
    return Start(access, Options());
  }
  // Leaves the objects as they are.
  ~KubeVirtPlayer();
  KubeVirtPlayer(const KubeVirtPlayer&) = delete;
  KubeVirtPlayer& operator=(const KubeVirtPlayer&) = delete;

  // How often `action` ("stop", "start") was called for the machine, whatever was answered.
  [[nodiscard]] int Calls(const std::string& action, const control::VmKey& key) const;
  // The first trouble of its own; OK when there was none.
  [[nodiscard]] absl::Status Health() const;

 private:
  explicit KubeVirtPlayer(const kube::ClusterAccess& access) : client_(access) {}

  [[nodiscard]] absl::Status Serve();
  void Answer(const TestRequest& request, TestReply& reply);
  // HTTP status and body.
  [[nodiscard]] std::pair<int, std::string> Act(const std::string& action, const control::VmKey& key);
  [[nodiscard]] absl::Status RequestChange(const control::VmKey& key, const std::string& action);
  [[nodiscard]] std::pair<int, std::string> TellGuest(const control::VmKey& key) const;

  void Run(const std::stop_token& stop);
  [[nodiscard]] absl::Status LookAtAll(const std::stop_token& stop);
  [[nodiscard]] absl::Status LookAt(nlohmann::json machine, const nlohmann::json* instance,
                                    const std::map<std::string, std::string>& claims);
  [[nodiscard]] absl::Status BringInstance(const nlohmann::json& machine, const nlohmann::json* instance);
  [[nodiscard]] absl::Status SetStatus(nlohmann::json machine, const std::string& printable_status, bool ready);

  const kube::Client client_;
  const TempDir folder_;
  mutable absl::Mutex mutex_;
  std::map<std::pair<std::string, control::VmKey>, int> calls_ ABSL_GUARDED_BY(mutex_);
  absl::Status health_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<HttpTestServer> server_;
  std::jthread thread_;
};

}  // namespace understudy::tests
