#include "agent-primary/rules/object_guard.h"

#include <fmt/format.h>

#include <algorithm>

#include "agent-primary/capture/deletion_guard.h"
#include "core/base/log.h"

namespace understudy::primary {
namespace {

constexpr std::string_view kObjectsPrefix = "objects:";

}  // namespace

std::optional<ObjectHold> JudgeLoss(const ObjectGuardLimits& limits, GuardRecord& counts, const ObjectLoss& loss,
                                    int64_t now_nanoseconds) {
  RecordEntries(counts, loss.at_dr, now_nanoseconds);
  if (loss.gone == 0 || limits.max_delete_fraction >= 1) return std::nullopt;
  const uint64_t before = std::max({counts.counts.front().entries, loss.at_dr, loss.held_before});
  const uint64_t gone = before - (loss.at_dr - std::min(loss.gone, loss.at_dr));
  const bool most = gone >= limits.min_objects &&
                    static_cast<double>(gone) > limits.max_delete_fraction * static_cast<double>(before);
  if (!most && !loss.list_is_empty) return std::nullopt;
  return ObjectHold{.before = before, .gone = gone, .list_is_empty = loss.list_is_empty};
}

std::string GuardKindOf(model::ObjectKind kind) {
  return fmt::format("{}{}", kObjectsPrefix, model::ToString(kind));
}

std::optional<model::ObjectKind> ParseGuardKind(std::string_view guard_kind) {
  if (!guard_kind.starts_with(kObjectsPrefix)) return std::nullopt;
  const auto kind = model::ParseObjectKind(guard_kind.substr(kObjectsPrefix.size()));
  return kind.ok() ? std::optional(*kind) : std::nullopt;
}

std::string ReasonOf(model::ObjectKind kind, const ObjectHold& hold, const ObjectGuardLimits& limits) {
  const std::string what =
      hold.list_is_empty
          ? fmt::format("the cluster lists no {} any more, and DR has {}", model::ToString(kind), hold.before)
          : fmt::format(
                "{} of {} objects of kind {} are gone from the cluster within an hour, more than "
                "guard.max_delete_fraction ({}) allows",
                hold.gone, hold.before, model::ToString(kind), limits.max_delete_fraction);
  return fmt::format(
      "{}: DR keeps the objects and their data; this ends by itself when they are back; if it is meant, run `drctl "
      "guard approve {}`",
      what, GuardKindOf(kind));
}

absl::Status JudgeCluster(const std::string& expected, const absl::StatusOr<std::string>& found) {
  const std::string expectation =
      expected.empty() ? std::string("no cluster was seen before") : fmt::format("expected is cluster {}", expected);
  if (!found.ok()) {
    return absl::UnavailableError(fmt::format(
        "the cluster can't be recognised by the uid of its namespace kube-system ({}; {}): nothing is deleted "
        "at DR until it can be read",
        expectation, MessageOf(found.status())));
  }
  if (expected.empty() || *found == expected) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "this is cluster {} by the uid of its namespace kube-system; {}: nothing is deleted at DR; connect the "
      "right cluster or, if it was made anew, run `drctl guard approve {}`",
      Printable(*found), expectation, kClusterGuard));
}

}  // namespace understudy::primary
