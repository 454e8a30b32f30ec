#include "core/model/hook.h"

#include <fmt/format.h>

namespace understudy::model {

std::string_view ToString(HookPhase phase) {
  switch (phase) {
    case HookPhase::kPreFence:
      return "pre-fence";
    case HookPhase::kPostFence:
      return "post-fence";
    case HookPhase::kPrePromote:
      return "pre-promote";
    case HookPhase::kPostPromote:
      return "post-promote";
    case HookPhase::kPreDemote:
      return "pre-demote";
    case HookPhase::kPostDemote:
      return "post-demote";
  }
  AbortOnBrokenInvariant("known HookPhase", __FILE__, __LINE__);
}

absl::StatusOr<HookPhase> ParseHookPhase(std::string_view text) {
  std::string all;
  for (const HookPhase phase : kHookPhases) {
    if (text == ToString(phase)) return phase;
    all += fmt::format("{}{}", all.empty() ? "" : ", ", ToString(phase));
  }
  return absl::InvalidArgumentError(fmt::format("there is no such phase of hooks: use one of {}", all));
}

}  // namespace understudy::model
