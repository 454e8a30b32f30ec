#include "control/vm/vm_status.h"

#include <fmt/format.h>

#include <string_view>

#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::FieldAt;
using kube::TextAt;
using nlohmann::json;

const json& ConditionOf(const json& object, std::string_view type) {
  static const json kNothing;
  const json& conditions = FieldAt(object, {"status", "conditions"});
  if (!conditions.is_array()) return kNothing;
  for (const json& condition : conditions) {
    if (TextAt(condition, {"type"}) == type) return condition;
  }
  return kNothing;
}

bool HasCondition(const json& object, std::string_view type) {
  return TextAt(ConditionOf(object, type), {"status"}) == "True";
}

// Whether KubeVirt still has to see to a request to start or to stop.
bool HasRequest(const json& machine, std::string_view action) {
  const json& requests = FieldAt(machine, {"status", "stateChangeRequests"});
  if (!requests.is_array()) return false;
  for (const json& request : requests) {
    if (TextAt(request, {"action"}) == action) return true;
  }
  return false;
}

bool IsFinal(std::string_view phase) {
  return phase == "Succeeded" || phase == "Failed";
}

bool WantsRunning(const json& machine, const VmStatus& status) {
  const bool lives = status.has_instance && !IsFinal(status.instance_phase);
  const bool stopping = HasRequest(machine, "Stop");
  if (HasRequest(machine, "Start")) return true;
  if (status.run_strategy == kRunAlways) return true;
  if (status.run_strategy == kRunHalted) return false;
  if (status.run_strategy == kRunRerunOnFailure || status.run_strategy == kRunOnce) {
    if (status.has_instance && !lives) {
      return status.run_strategy == kRunRerunOnFailure && status.instance_phase == "Failed";
    }
    // Without an instance: it is to come unless the controller has said that the machine is at rest.
    if (!status.has_instance) return status.printable_status != "Stopped" && status.printable_status != "Stopping";
  }
  return lives && !stopping;
}

std::vector<std::string> AddressesOf(const json& instance) {
  std::vector<std::string> addresses;
  const json& interfaces = FieldAt(instance, {"status", "interfaces"});
  if (!interfaces.is_array()) return addresses;
  const auto add = [&](const json& value) {
    if (!value.is_string() || value.get_ref<const std::string&>().empty()) return;
    const auto& address = value.get_ref<const std::string&>();
    for (const std::string& known : addresses) {
      if (known == address) return;
    }
    addresses.push_back(address);
  };
  for (const json& interface : interfaces) {
    add(FieldAt(interface, {"ipAddress"}));
    const json& more = FieldAt(interface, {"ipAddresses"});
    if (!more.is_array()) continue;
    for (const json& address : more) add(address);
  }
  return addresses;
}

// What KubeVirt's conditions complain of, the most telling first.
std::string ProblemOf(const json& machine, const json* instance) {
  if (kube::IsTerminating(machine)) return "the machine is being deleted";
  if (HasCondition(machine, "Failure")) return TextAt(ConditionOf(machine, "Failure"), {"message"});
  if (instance != nullptr) {
    for (const std::string_view type : {"Synchronized", "PodScheduled", "Ready"}) {
      const json& condition = ConditionOf(*instance, type);
      if (TextAt(condition, {"status"}) != "False") continue;
      if (std::string message = TextAt(condition, {"message"}); !message.empty()) return message;
    }
    if (HasCondition(*instance, "Paused")) return TextAt(ConditionOf(*instance, "Paused"), {"message"});
  }
  const json& failures = FieldAt(machine, {"status", "startFailure", "consecutiveFailCount"});
  if (failures.is_number_integer() && failures.get<int64_t>() > 0) {
    return fmt::format("it failed to start {} times in a row", failures.get<int64_t>());
  }
  return {};
}

}  // namespace

VmStatus StatusOfVm(const json& machine, const json* instance) {
  VmStatus status;
  status.key = {kube::NamespaceOf(machine), kube::NameOf(machine)};
  status.uid = kube::UidOf(machine);
  status.run_strategy = TextAt(machine, {"spec", "runStrategy"});
  if (status.run_strategy.empty()) {
    const json& running = FieldAt(machine, {"spec", "running"});
    status.has_running_field = running.is_boolean();
    status.run_strategy = running.is_boolean() && running.get<bool>() ? kRunAlways : kRunHalted;
  }
  status.printable_status = TextAt(machine, {"status", "printableStatus"});
  if (instance != nullptr) {
    status.has_instance = true;
    status.instance_phase = kube::PhaseOf(*instance);
    status.ready = HasCondition(*instance, "Ready");
    status.agent_connected = HasCondition(*instance, "AgentConnected");
    status.fs_freeze = TextAt(*instance, {"status", "fsFreezeStatus"});
    status.ip_addresses = AddressesOf(*instance);
    status.node = TextAt(*instance, {"status", "nodeName"});
  }
  status.wants_running = WantsRunning(machine, status);
  status.problem = ProblemOf(machine, instance);
  return status;
}

StopRecord RecordOf(const VmStatus& status) {
  return {.previous_run_strategy = status.run_strategy,
          .was_running = status.wants_running || (status.has_instance && !IsFinal(status.instance_phase)),
          .via = StopRecord::Via::kNothing};
}

json StoppingSpec(const VmStatus& status) {
  if (status.has_running_field) return {{"running", false}};
  return {{"runStrategy", kRunHalted}};
}

json StrategySpec(const VmStatus& status, const std::string& run_strategy) {
  if (status.run_strategy == run_strategy) return json::object();
  if (!status.has_running_field) return {{"runStrategy", run_strategy}};
  if (run_strategy == kRunAlways) return {{"running", true}};
  if (run_strategy == kRunHalted) return {{"running", false}};
  return {{"running", nullptr}, {"runStrategy", run_strategy}};
}

}  // namespace understudy::control
