// attempt.h: one attempt at one item of a step: a look, the deed unless it is so already, and another look.
//
// Looks are repeated while nobody answers: an agent that restarts, an API server that is voted anew. Deeds aren't:
// whether one had an effect is for the next look to find out.
#pragma once

#include "absl/time/time.h"
#include "control/runs/step.h"
#include "core/base/clock.h"
#include "core/base/status.h"

namespace understudy::control {

// For how long nobody has to answer before a look fails, and how long it pauses in between.
struct Patience {
  absl::Duration bound = absl::Minutes(1);
  absl::Duration first_pause = absl::Milliseconds(200);
  absl::Duration longest_pause = absl::Seconds(10);
};

struct Attempt {
  absl::Status made{};
  bool was_so = false;  // nothing was done
};

// What it tells the context while it waits: the error, and that it is tried again.
[[nodiscard]] Attempt MakeAttempt(Step& step, const Item& item, ItemContext& context, const Patience& patience,
                                  const Clock& clock);

// Whether the failure says something of the item itself, rather than that it couldn't be got at: nobody answered, or
// not to us. Only the former may be passed over (Step::Tolerates). Pure.
[[nodiscard]] bool IsVerdict(const absl::Status& failure);

}  // namespace understudy::control
