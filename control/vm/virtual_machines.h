// virtual_machines.h: the virtual machines of one cluster: how they are, and stopping and starting them.
//
// A machine is never deleted to stop it: the claims that it owns would go with it.
#pragma once

#include <compare>
#include <stop_token>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/kube/client.h"

namespace understudy::control {

struct VmKey {
  std::string namespace_name;
  std::string name;
  friend auto operator<=>(const VmKey&, const VmKey&) = default;
  friend bool operator==(const VmKey&, const VmKey&) = default;
};
// "namespace/name".
[[nodiscard]] std::string ToString(const VmKey& key);

// KubeVirt's run strategies.
inline constexpr char kRunAlways[] = "Always";
inline constexpr char kRunOnce[] = "Once";
inline constexpr char kRunManual[] = "Manual";
inline constexpr char kRunRerunOnFailure[] = "RerunOnFailure";
inline constexpr char kRunHalted[] = "Halted";

// A VirtualMachine together with its instance.
struct VmStatus {
  VmKey key;
  std::string uid;
  std::string run_strategy;        // also where spec.running says it: Always or Halted
  bool has_running_field = false;  // it is spec.running that says it; spec.runStrategy isn't set
  bool wants_running = false;      // KubeVirt keeps or brings an instance
  std::string printable_status;    // KubeVirt's; empty: its controller hasn't looked yet
  bool has_instance = false;
  std::string instance_phase;  // KubeVirt's; empty without an instance
  bool ready = false;          // condition Ready of the instance
  bool agent_connected = false;
  std::string fs_freeze;  // fsFreezeStatus: "frozen", or empty
  std::vector<std::string> ip_addresses;
  std::string node;
  std::string problem;  // what KubeVirt says is wrong; empty: nothing
};

// What a stop found and did, so that the machine can be put back to how it was.
struct StopRecord {
  enum class Via {
    kNothing,      // it was stopped, or being stopped
    kSubresource,  // KubeVirt's own stop
    kPatch,        // the subresource isn't served: spec.runStrategy or spec.running was changed
  };
  std::string previous_run_strategy;  // as VmStatus::run_strategy
  bool was_running = false;           // it had an instance, or KubeVirt was to bring one
  Via via = Via::kNothing;
};

// What the guest agent tells of the system inside.
struct GuestOs {
  std::string pretty_name;  // "Debian GNU/Linux 12 (bookworm)"; empty: not told
  std::string host_name;
  std::string agent_version;
};

// Thread-safe. Errors of every call: NOT_FOUND (no such machine, or the cluster doesn't serve KubeVirt's kinds),
// PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE and DEADLINE_EXCEEDED (may be tried again), ABORTED (somebody changed
// it at the same time; may be tried again). Stop and Start may be repeated: a machine that is as wanted is left alone.
class VirtualMachines {
 public:
  virtual ~VirtualMachines() = default;

  // All of the namespace, ascending by name; an empty namespace: of the cluster.
  [[nodiscard]] virtual absl::StatusOr<std::vector<VmStatus>> List(const std::string& namespace_name,
                                                                   std::stop_token stop) = 0;
  [[nodiscard]] virtual absl::StatusOr<VmStatus> Get(const VmKey& key) = 0;

  // Instances that no VirtualMachine stands for and that haven't ended: nobody but who made them starts or stops them.
  // Ascending.
  [[nodiscard]] virtual absl::StatusOr<std::vector<VmKey>> ListStrays(const std::string& namespace_name,
                                                                      std::stop_token stop) = 0;

  // Asks for the shutdown and returns; WaitStopped (control/vm/boot.h) waits for it. Only the first record of several
  // says how the machine was: a caller that may be interrupted writes RecordOf(Get) down before.
  [[nodiscard]] virtual absl::StatusOr<StopRecord> Stop(const VmKey& key) = 0;

  // Has the machine run with `run_strategy`, whatever a restore or a stop left it with; empty: KubeVirt's own start.
  // Returns when KubeVirt was asked. With Halted nothing is done: such a machine isn't to run. FAILED_PRECONDITION:
  // Manual is wanted, and the subresource that would start it isn't served. INVALID_ARGUMENT: no such strategy.
  [[nodiscard]] virtual absl::Status Start(const VmKey& key, const std::string& run_strategy) = 0;

  // FAILED_PRECONDITION: no agent answers. UNIMPLEMENTED: the subresource isn't served.
  [[nodiscard]] virtual absl::StatusOr<GuestOs> GuestInfo(const VmKey& key) = 0;
};

// How the machine is before a stop. Pure.
[[nodiscard]] StopRecord RecordOf(const VmStatus& status);

class KubeVirtMachines : public VirtualMachines {
 public:
  // `client` must outlive it.
  explicit KubeVirtMachines(const kube::Client& client) : client_(client) {}

  absl::StatusOr<std::vector<VmStatus>> List(const std::string& namespace_name, std::stop_token stop) override;
  absl::StatusOr<std::vector<VmKey>> ListStrays(const std::string& namespace_name, std::stop_token stop) override;
  absl::StatusOr<VmStatus> Get(const VmKey& key) override;
  absl::StatusOr<StopRecord> Stop(const VmKey& key) override;
  absl::Status Start(const VmKey& key, const std::string& run_strategy) override;
  absl::StatusOr<GuestOs> GuestInfo(const VmKey& key) override;

 private:
  [[nodiscard]] absl::Status PatchSpec(const VmKey& key, const nlohmann::json& spec);
  [[nodiscard]] absl::Status CallStart(const VmStatus& status, bool may_patch);

  const kube::Client& client_;
};

}  // namespace understudy::control
