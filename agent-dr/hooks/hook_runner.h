// hook_runner.h: runs the administrator's hooks of one phase, one after the other (docs/hooks.md).
#pragma once

#include <functional>
#include <string>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/model/hook.h"
#include "core/model/volume.h"

namespace understudy::dr {

struct HookOptions {
  std::string dir;                            // absolute; needn't exist
  absl::Duration timeout = absl::Minutes(1);  // of one hook
};

struct HookCall {
  model::HookPhase phase = model::HookPhase::kPreFence;
  model::VolumeName volume{};         // for the environment; empty: none
  std::string input{};                // on each hook's stdin
  std::function<bool()> cancelled{};  // asked several times a second; true ends the hook under way
  std::function<void(const model::HookResult&)> on_result{};  // called after each
};

// Thread-safe.
class HookRunner {
 public:
  explicit HookRunner(HookOptions options) : options_(std::move(options)) {}

  // OK: all hooks of the phase exited with 0, or there are none; one that failed and is optional counts as well.
  // ABORTED: one failed, so the later ones weren't run. CANCELLED: `cancelled`. Other errors: as of ListHooks.
  [[nodiscard]] absl::Status Run(const HookCall& call) const;

 private:
  const HookOptions options_;
};

}  // namespace understudy::dr
