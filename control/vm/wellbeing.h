// wellbeing.h: whether a virtual machine is stopped, well, broken, or not there yet. Pure.
#pragma once

#include <string>
#include <string_view>

#include "control/vm/virtual_machines.h"

namespace understudy::control {

enum class Wellbeing {
  kStopped,  // no instance, or one that has ended; and none is to come
  kNotYet,   // on its way; `reason` says what is waited for
  kWell,     // runs, is ready, and its agent answers where one is expected
  kBad,      // doesn't get well by itself; `reason` says what to do
};
[[nodiscard]] std::string_view ToString(Wellbeing state);

struct VmExpectation {
  bool agent = false;  // the guest agent has to answer
};

struct VmVerdict {
  Wellbeing state = Wellbeing::kNotYet;
  std::string reason;  // empty when well or stopped
  friend bool operator==(const VmVerdict&, const VmVerdict&) = default;
};

// KubeVirt shows some of what is bad for a moment on the way up, too: who waits lets it last for a while first.
[[nodiscard]] VmVerdict Judge(const VmStatus& status, const VmExpectation& expectation);

}  // namespace understudy::control
