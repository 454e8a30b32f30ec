// hook.h: the administrator's own programs that run around a fence, a promotion and a demotion, and what became of one.
// Values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::model {

enum class HookPhase { kPreFence, kPostFence, kPrePromote, kPostPromote, kPreDemote, kPostDemote };
inline constexpr HookPhase kHookPhases[] = {HookPhase::kPreFence,    HookPhase::kPostFence, HookPhase::kPrePromote,
                                            HookPhase::kPostPromote, HookPhase::kPreDemote, HookPhase::kPostDemote};
// As its folder is called: "pre-fence".
[[nodiscard]] std::string_view ToString(HookPhase phase);
// INVALID_ARGUMENT, with those there are.
[[nodiscard]] absl::StatusOr<HookPhase> ParseHookPhase(std::string_view text);

struct HookResult {
  HookPhase phase = HookPhase::kPreFence;
  std::string name;                    // of its file, bytes
  bool optional = false;               // its failure stops nothing
  std::string problem{};               // why it failed; empty: it didn't
  std::string output{};                // the end of what it wrote, bytes
  uint64_t output_left_out_bytes = 0;  // before that
  absl::Duration took;
  [[nodiscard]] bool ok() const { return problem.empty(); }
};

}  // namespace understudy::model
