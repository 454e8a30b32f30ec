#include "control/vm/virtual_machines.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "control/vm/vm_status.h"
#include "control/vm/wellbeing.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using nlohmann::json;

bool IsStrategy(std::string_view text) {
  constexpr std::string_view kKnown[] = {kRunAlways, kRunOnce, kRunManual, kRunRerunOnFailure, kRunHalted};
  return std::find(std::begin(kKnown), std::end(kKnown), text) != std::end(kKnown);
}

bool HasEnded(std::string_view instance_phase) {
  return instance_phase == "Succeeded" || instance_phase == "Failed";
}

bool Lives(const VmStatus& status) {
  return status.has_instance && !HasEnded(status.instance_phase);
}

std::string NameOf(const json& object) {
  return fmt::format("{}/{}", object.at("metadata").value("namespace", ""),
                     object.at("metadata").at("name").get_ref<const std::string&>());
}

std::string TextOf(const json& object, const char* key) {
  const auto value = object.find(key);
  return value != object.end() && value->is_string() ? value->get<std::string>() : std::string();
}

}  // namespace

std::string ToString(const VmKey& key) {
  return fmt::format("{}/{}", key.namespace_name, key.name);
}

absl::StatusOr<std::vector<VmStatus>> KubeVirtMachines::List(const std::string& namespace_name, std::stop_token stop) {
  ASSIGN_OR_RETURN(const kube::ListResult machines, client_.List(kube::kVirtualMachines, namespace_name, stop));
  ASSIGN_OR_RETURN(const kube::ListResult instances,
                   client_.List(kube::kVirtualMachineInstances, namespace_name, stop));
  std::map<std::string, const json*> by_name;
  for (const json& instance : instances.items) by_name[NameOf(instance)] = &instance;
  std::vector<VmStatus> result;
  for (const json& machine : machines.items) {
    const auto instance = by_name.find(NameOf(machine));
    result.push_back(StatusOfVm(machine, instance == by_name.end() ? nullptr : instance->second));
  }
  std::sort(result.begin(), result.end(), [](const VmStatus& a, const VmStatus& b) { return a.key < b.key; });
  return result;
}

absl::StatusOr<std::vector<VmKey>> KubeVirtMachines::ListStrays(const std::string& namespace_name,
                                                                std::stop_token stop) {
  // Instances first: a machine that is made meanwhile is there when its instance is.
  ASSIGN_OR_RETURN(const kube::ListResult instances,
                   client_.List(kube::kVirtualMachineInstances, namespace_name, stop));
  ASSIGN_OR_RETURN(const kube::ListResult machines, client_.List(kube::kVirtualMachines, namespace_name, stop));
  std::set<std::string> known;
  for (const json& machine : machines.items) known.insert(NameOf(machine));
  std::vector<VmKey> strays;
  for (const json& instance : instances.items) {
    if (known.contains(NameOf(instance)) || HasEnded(kube::PhaseOf(instance))) continue;
    strays.push_back({kube::TextAt(instance, {"metadata", "namespace"}), kube::TextAt(instance, {"metadata", "name"})});
  }
  std::sort(strays.begin(), strays.end());
  return strays;
}

absl::StatusOr<VmStatus> KubeVirtMachines::Get(const VmKey& key) {
  ASSIGN_OR_RETURN(const json machine, client_.Get(kube::kVirtualMachines, key.namespace_name, key.name));
  const absl::StatusOr<json> instance = client_.Get(kube::kVirtualMachineInstances, key.namespace_name, key.name);
  if (absl::IsNotFound(instance.status())) return StatusOfVm(machine, nullptr);
  RETURN_IF_ERROR(instance.status());
  return StatusOfVm(machine, &*instance);
}

absl::StatusOr<StopRecord> KubeVirtMachines::Stop(const VmKey& key) {
  ASSIGN_OR_RETURN(const VmStatus status, Get(key));
  StopRecord record = RecordOf(status);
  if (!status.wants_running) return record;
  const absl::Status stopped =
      client_.Put(kube::kVirtualMachineActions, key.namespace_name, key.name, "stop", json::object());
  if (stopped.ok()) {
    record.via = StopRecord::Via::kSubresource;
    return record;
  }
  if (absl::IsNotFound(stopped)) {
    RETURN_IF_ERROR(PatchSpec(key, StoppingSpec(status)));
    record.via = StopRecord::Via::kPatch;
    return record;
  }
  if (!absl::IsAborted(stopped) && !absl::IsAlreadyExists(stopped)) return stopped;
  // A conflict says that it isn't running, or that somebody else was quicker: how it is now tells which.
  ASSIGN_OR_RETURN(const VmStatus now, Get(key));
  if (!now.wants_running) return record;
  // Without an instance there is nothing that KubeVirt could stop, yet it would start one (a crash loop, a claim that
  // isn't there): only the run strategy keeps it down.
  if (!Lives(now)) {
    RETURN_IF_ERROR(PatchSpec(key, StoppingSpec(now)));
    record.via = StopRecord::Via::kPatch;
    return record;
  }
  return stopped;
}

absl::Status KubeVirtMachines::Start(const VmKey& key, const std::string& run_strategy) {
  if (!run_strategy.empty() && !IsStrategy(run_strategy)) {
    return absl::InvalidArgumentError(
        fmt::format("start of {}: '{}' is no run strategy that KubeVirt has", ToString(key), run_strategy));
  }
  if (run_strategy == kRunHalted) return absl::OkStatus();
  ASSIGN_OR_RETURN(VmStatus status, Get(key));
  if (run_strategy.empty()) {
    if (status.wants_running) return absl::OkStatus();
    return CallStart(status, /*may_patch=*/status.run_strategy == kRunHalted);
  }
  const json spec = StrategySpec(status, run_strategy);
  if (!spec.empty()) {
    RETURN_IF_ERROR(PatchSpec(key, spec));
    ASSIGN_OR_RETURN(status, Get(key));
  }
  // KubeVirt starts these by itself when the strategy changes; a machine that had its strategy all along, and was
  // stopped, wants to be asked.
  if (status.wants_running || run_strategy == kRunAlways) return absl::OkStatus();
  if (!spec.empty() && run_strategy != kRunManual) return absl::OkStatus();
  return CallStart(status, /*may_patch=*/false);
}

absl::Status KubeVirtMachines::CallStart(const VmStatus& status, bool may_patch) {
  const VmKey& key = status.key;
  const absl::Status started =
      client_.Put(kube::kVirtualMachineActions, key.namespace_name, key.name, "start", json::object());
  if (absl::IsNotFound(started)) {
    if (may_patch) return PatchSpec(key, StrategySpec(status, kRunAlways));
    return absl::FailedPreconditionError(fmt::format(
        "start of {}: its run strategy is {}, so only KubeVirt's own start does it, and the cluster doesn't "
        "serve {}: look at `oc get apiservice v1.subresources.kubevirt.io`, or set the run strategy Always",
        ToString(key), status.run_strategy, kube::kVirtualMachineActions.group));
  }
  if (!absl::IsAborted(started) && !absl::IsAlreadyExists(started)) return started;
  // A conflict: it runs already, or is on its way.
  ASSIGN_OR_RETURN(const VmStatus now, Get(key));
  return now.wants_running ? absl::OkStatus() : started;
}

absl::StatusOr<GuestOs> KubeVirtMachines::GuestInfo(const VmKey& key) {
  const absl::StatusOr<json> info =
      client_.GetSubresource(kube::kVirtualMachineInstanceActions, key.namespace_name, key.name, "guestosinfo");
  if (absl::IsNotFound(info.status())) {
    RETURN_IF_ERROR(client_.Get(kube::kVirtualMachineInstances, key.namespace_name, key.name).status());
    return absl::UnimplementedError(fmt::format("the cluster doesn't serve guestosinfo of {}", ToString(key)));
  }
  if (absl::IsAborted(info.status()) || absl::IsInvalidArgument(info.status())) {
    return absl::FailedPreconditionError(info.status().message());
  }
  RETURN_IF_ERROR(info.status());
  const auto os = info->find("os");
  return GuestOs{.pretty_name = os != info->end() && os->is_object() ? TextOf(*os, "prettyName") : std::string(),
                 .host_name = TextOf(*info, "hostname"),
                 .agent_version = TextOf(*info, "guestAgentVersion")};
}

absl::Status KubeVirtMachines::PatchSpec(const VmKey& key, const json& spec) {
  return client_.Patch(kube::kVirtualMachines, key.namespace_name, key.name, kube::PatchType::kMerge, {{"spec", spec}})
      .status();
}

}  // namespace understudy::control
