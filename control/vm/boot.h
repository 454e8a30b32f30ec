// boot.h: waiting until virtual machines are stopped, and starting them in groups, one group after the other.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "control/vm/virtual_machines.h"
#include "control/vm/wellbeing.h"
#include "core/base/clock.h"
#include "core/base/status.h"

namespace understudy::control {

struct VmWaitOptions {
  absl::Duration poll_interval = absl::Seconds(2);
  // A bad state counts when it has lasted for so long: on the way up some of them are shown for a moment.
  absl::Duration bad_after = absl::Seconds(20);
};

// Called on the waiting thread whenever a machine's verdict changes.
using OnVmChange = std::function<void(const VmStatus& status, const VmVerdict& verdict)>;

// Returns when every one of `keys` is stopped; one that is gone counts as stopped. DEADLINE_EXCEEDED names those that
// aren't after `timeout`, and how they are; CANCELLED: `stop`. What may be tried again is tried until then.
[[nodiscard]] absl::Status WaitStopped(VirtualMachines& machines, const std::vector<VmKey>& keys,
                                       absl::Duration timeout, std::stop_token stop, const OnVmChange& on_change,
                                       const VmWaitOptions& options = {}, Clock& clock = Clock::System());

struct BootGroup {
  std::vector<std::string> vms;  // globs of "namespace/name"
  absl::Duration pause_after = absl::ZeroDuration();
  absl::Duration timeout = absl::Minutes(10);  // from the group's start until all of it are well or bad
  bool expect_agent = false;
};

enum class OnBroken {
  kContinue,  // the next group is started whatever became of this one
  kStop,      // nothing is started after a group in which a machine didn't get well
};

struct BootOrder {
  std::vector<BootGroup> groups;
  BootGroup rest = {};  // how those are treated that match no group; they come last. `vms` is of no account
  OnBroken on_broken = OnBroken::kContinue;
};

struct BootVm {
  VmKey key;
  // With which it ran before; Halted: it isn't started. A restore leaves it Halted, so this is the backup's word.
  std::string run_strategy;
};

enum class BootOutcome {
  kWell,
  kBad,          // KubeVirt says so, or couldn't be asked to start it
  kTimedOut,     // neither within the group's time
  kNotStarted,   // an earlier group broke
  kLeftStopped,  // it was stopped before, too
};
// "well", "bad", "timed out", "not started", "left stopped".
[[nodiscard]] std::string_view ToString(BootOutcome outcome);

struct VmBoot {
  VmKey key;
  size_t group = 0;  // index in BootOrder::groups; groups.size(): the rest
  BootOutcome outcome = BootOutcome::kNotStarted;
  std::string reason;                          // what wasn't well, and what to do; empty when well
  absl::Duration took = absl::ZeroDuration();  // from the group's start to the verdict
};

// Which group each machine belongs to: the first that it matches, or groups.size(). Pure.
[[nodiscard]] std::vector<size_t> GroupsOf(const BootOrder& order, const std::vector<BootVm>& vms);

// Whether "namespace/name" matches `glob` (`*` any characters, a slash included; `?` one). Pure.
[[nodiscard]] bool MatchesVm(std::string_view glob, const VmKey& key);

// Starts the groups in order, and waits for each. The outcome of each machine, in the order of `vms`; machines that
// don't get well are no error. May be repeated: those that run already are left alone. CANCELLED: `stop`; what was
// started goes on.
[[nodiscard]] absl::StatusOr<std::vector<VmBoot>> Boot(VirtualMachines& machines, const std::vector<BootVm>& vms,
                                                       const BootOrder& order, std::stop_token stop,
                                                       const OnVmChange& on_change, const VmWaitOptions& options = {},
                                                       Clock& clock = Clock::System());

}  // namespace understudy::control
