#include "control/vm/wellbeing.h"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::control {
namespace {

struct BadState {
  std::string_view printable_status;
  std::string_view what_to_do;
};

// KubeVirt's printable states that don't pass by themselves.
constexpr BadState kBadStates[] = {
    {"CrashLoopBackOff",
     "its instance ends as soon as it starts: look at the events of the VirtualMachineInstance and "
     "at the log of its virt-launcher pod; a disk whose export is read-only does that"},
    {"ErrorUnschedulable",
     "no node takes it: compare its CPU, memory, node selector and devices with what the nodes of "
     "this cluster have"},
    {"ErrorPvcNotFound", "a claim of its isn't there: `drctl status` says which storage objects aren't ready"},
    {"DataVolumeError",
     "its DataVolume failed: look at `oc describe datavolume`; a claim that is there already should "
     "have been taken over, not imported again"},
    {"ErrImagePull", "a container disk's image can't be pulled: this cluster needs access to the image's registry"},
    {"ImagePullBackOff", "a container disk's image can't be pulled: this cluster needs access to the image's registry"},
    {"Paused", "it was paused, by hand or for an I/O error: if its disks' exports are writable, `virtctl unpause vm`"},
};

bool Lives(const VmStatus& status) {
  return status.has_instance && status.instance_phase != "Succeeded" && status.instance_phase != "Failed";
}

std::string WithProblem(std::string text, const VmStatus& status) {
  if (status.problem.empty()) return text;
  return fmt::format("{} (KubeVirt: {})", text, status.problem);
}

std::string WaitedFor(const VmStatus& status, const VmExpectation& expectation) {
  if (!status.has_instance) {
    return fmt::format("waits for an instance; it is {}",
                       status.printable_status.empty() ? "not looked at by KubeVirt yet" : status.printable_status);
  }
  if (status.instance_phase != "Running") {
    return fmt::format("its instance is {}", status.instance_phase.empty() ? "new" : status.instance_phase);
  }
  if (!status.ready) return "its instance runs but isn't ready";
  if (status.printable_status != "Running") return fmt::format("it is {}", status.printable_status);
  if (expectation.agent && !status.agent_connected) return "its guest agent doesn't answer yet";
  return {};
}

}  // namespace

std::string_view ToString(Wellbeing state) {
  switch (state) {
    case Wellbeing::kStopped:
      return "stopped";
    case Wellbeing::kNotYet:
      return "not yet";
    case Wellbeing::kWell:
      return "well";
    case Wellbeing::kBad:
      return "bad";
  }
  AbortOnBrokenInvariant("known Wellbeing", __FILE__, __LINE__);
}

VmVerdict Judge(const VmStatus& status, const VmExpectation& expectation) {
  if (!status.wants_running) {
    if (!Lives(status)) return {.state = Wellbeing::kStopped, .reason = {}};
    return {.state = Wellbeing::kNotYet, .reason = WithProblem("its instance is being shut down", status)};
  }
  const auto* const bad = std::find_if(std::begin(kBadStates), std::end(kBadStates), [&](const BadState& state) {
    return state.printable_status == status.printable_status;
  });
  if (bad != std::end(kBadStates)) {
    return {.state = Wellbeing::kBad,
            .reason = WithProblem(fmt::format("{}: {}", bad->printable_status, bad->what_to_do), status)};
  }
  const std::string waited_for = WaitedFor(status, expectation);
  if (waited_for.empty()) return {.state = Wellbeing::kWell, .reason = {}};
  return {.state = Wellbeing::kNotYet, .reason = WithProblem(waited_for, status)};
}

}  // namespace understudy::control
