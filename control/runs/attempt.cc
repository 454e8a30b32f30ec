#include "control/runs/attempt.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/base/backoff.h"
#include "core/base/wait.h"

namespace understudy::control {
namespace {

// `look` until it is answered, whatever the answer is, or until nobody did for too long. A look that waited for longer
// than that by itself, such as for a machine that doesn't stop, isn't begun anew when its time is up.
template <class Look>
absl::Status Repeat(const Look& look, const ItemContext& context, const Patience& patience, const Clock& clock) {
  Backoff backoff(patience.first_pause, patience.longest_pause);
  std::optional<absl::Duration> since;
  while (true) {
    const absl::Duration began = clock.Monotonic();
    const absl::Status answer = look();
    if (!IsUnreachable(answer) || context.stop.stop_requested()) return answer;
    const absl::Duration now = clock.Monotonic();
    const bool waited = absl::IsDeadlineExceeded(answer) && now - began >= patience.bound;
    if (!since) since = now;
    const absl::Duration left = patience.bound - (now - *since);
    if (waited || left <= absl::ZeroDuration()) return answer;
    context.Progress(fmt::format("{}; it is tried again", MessageOf(answer)));
    if (!WaitUnlessStopped(context.stop, std::min(left, backoff.Next()))) return answer;
  }
}

}  // namespace

Attempt MakeAttempt(Step& step, const Item& item, ItemContext& context, const Patience& patience, const Clock& clock) {
  Attempt attempt;
  attempt.made = Repeat(
      [&] {
        const absl::StatusOr<bool> is_so = step.Check(item, context);
        attempt.was_so = is_so.ok() && *is_so;
        return is_so.status();
      },
      context, patience, clock);
  if (attempt.made.ok() && !attempt.was_so) attempt.made = step.Do(item, context);
  if (attempt.made.ok()) {
    attempt.made = Repeat([&] { return step.Confirm(item, context); }, context, patience, clock);
  }
  return attempt;
}

bool IsVerdict(const absl::Status& failure) {
  return !IsUnreachable(failure) && !absl::IsUnauthenticated(failure) && !absl::IsPermissionDenied(failure);
}

}  // namespace understudy::control
