#include "agent-dr/hooks/hook_runner.h"

#include <fmt/format.h>

#include <vector>

#include "agent-dr/hooks/bounded_process.h"
#include "agent-dr/hooks/hook_files.h"
#include "core/base/clock.h"
#include "core/base/log.h"

namespace understudy::dr {
namespace {

std::vector<std::string> EnvironmentOf(const HookCall& call) {
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/",
          fmt::format("UNDERSTUDY_PHASE={}", model::ToString(call.phase)),
          fmt::format("UNDERSTUDY_VOLUME={}", call.volume)};
}

std::string ProblemOf(const ProcessOutcome& outcome, absl::Duration timeout) {
  const std::string left_behind =
      outcome.left_behind == 0
          ? ""
          : fmt::format(", and hasn't ended (process {}): see what it waits for", outcome.left_behind);
  if (outcome.late) return fmt::format("it was killed after {}{}", absl::FormatDuration(timeout), left_behind);
  if (outcome.was_cancelled) return "it was killed: the call that it belonged to was given up" + left_behind;
  if (outcome.left_behind != 0) return "it was killed" + left_behind;
  if (outcome.exit_code == 0) return "";
  if (outcome.exit_code > 0) return fmt::format("exit code {}", outcome.exit_code);
  return fmt::format("ended by signal {}", outcome.signal);
}

struct Ended {
  model::HookResult result;
  bool was_cancelled = false;
};

Ended RunOne(const HookFile& hook, const HookCall& call, absl::Duration timeout) {
  Ended ended{.result = {.phase = call.phase, .name = hook.name, .optional = hook.optional, .took = {}}};
  if (!hook.usable.ok()) {
    ended.result.problem = std::string(MessageOf(hook.usable));
    return ended;
  }
  const absl::Duration began = Clock::System().Monotonic();
  absl::StatusOr<ProcessOutcome> outcome = RunBounded({.path = hook.path,
                                                       .environment = EnvironmentOf(call),
                                                       .input = call.input,
                                                       .time_limit = timeout,
                                                       .cancelled = call.cancelled});
  ended.result.took = Clock::System().Monotonic() - began;
  if (!outcome.ok()) {
    ended.result.problem = std::string(MessageOf(outcome.status()));
    return ended;
  }
  ended.result.problem = ProblemOf(*outcome, timeout);
  ended.result.output = std::move(outcome->output);
  ended.result.output_left_out_bytes = outcome->left_out_bytes;
  ended.was_cancelled = outcome->was_cancelled;
  return ended;
}

}  // namespace

absl::Status HookRunner::Run(const HookCall& call) const {
  ASSIGN_OR_RETURN(const std::vector<HookFile> hooks, ListHooks(options_.dir, call.phase));
  for (const HookFile& hook : hooks) {
    if (call.cancelled != nullptr && call.cancelled()) return absl::CancelledError("the call was given up");
    const auto [result, was_cancelled] = RunOne(hook, call, options_.timeout);
    spdlog::info("hook phase={} name={} volume={} {}", model::ToString(call.phase), Printable(hook.name), call.volume,
                 result.ok() ? "done" : result.problem);
    if (call.on_result != nullptr) call.on_result(result);
    if (was_cancelled) return absl::CancelledError("the call was given up");
    if (result.ok() || hook.optional) continue;
    return absl::AbortedError(
        fmt::format("hook {}/{}: {}", model::ToString(call.phase), Printable(hook.name), result.problem));
  }
  return absl::OkStatus();
}

}  // namespace understudy::dr
