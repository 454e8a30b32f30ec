#include "control/commands/points_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

constexpr char kExampleTime[] = "2026-11-29T03:00:00Z";

Document TimeOrNull(absl::Time time) {
  if (time == absl::UnixEpoch()) return nullptr;
  return Rfc3339(time);
}

bool IsTold(const model::RecoveryPoint& point) {
  return point.consistency != model::Consistency::kUnknown;
}

bool IsNewer(const model::RecoveryPoint& a, const model::RecoveryPoint& b) {
  return TimeOf(a) > TimeOf(b);
}

bool ParseTime(const std::string& text, absl::Time& time) {
  std::string why_not;
  return absl::ParseTime(absl::RFC3339_full, text, &time, &why_not);
}

// What is wrong with a text that names nothing; OK: it may be a label.
absl::Status CheckForTime(const std::string& text) {
  absl::Time time;
  for (const char* const missing : {"Z", "T00:00:00Z"}) {
    if (!ParseTime(text + missing, time)) continue;
    return absl::InvalidArgumentError(fmt::format("time {}: say the time zone: {}{}", text, text, missing));
  }
  // No label has one.
  if (text.find(':') == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} is no time with a time zone, as {}", Printable(text), kExampleTime));
}

}  // namespace

absl::Time TimeOf(const model::RecoveryPoint& point) {
  return point.captured_at != absl::UnixEpoch() ? point.captured_at : point.committed_at;
}

std::string TimeText(absl::Time time) {
  if (time == absl::UnixEpoch()) return "-";
  const absl::Time shown = absl::UnixEpoch() + absl::Ceil(time - absl::UnixEpoch(), absl::Milliseconds(1));
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", shown, absl::UTCTimeZone());
}

void SortByTime(std::vector<model::RecoveryPoint>& points) {
  std::stable_sort(points.begin(), points.end(), IsNewer);
}

absl::StatusOr<model::RecoveryPoint> StateOf(const std::string& volume, const model::RecoveryPoints& points,
                                             const std::string& text) {
  std::vector<model::RecoveryPoint> all = {points.newest};
  all.insert(all.end(), points.points.begin(), points.points.end());
  const absl::Status none = absl::NotFoundError(fmt::format(
      "volume {}: no state {} is kept: drctl points list {} shows what is", volume, Printable(text), volume));
  const auto first_that = [&](const auto& matches) -> absl::StatusOr<model::RecoveryPoint> {
    const auto match = std::find_if(all.begin(), all.end(), matches);
    if (match != all.end()) return *match;
    return none;
  };
  if (text.empty()) return absl::InvalidArgumentError("say which state: its number, its label, or a time");
  if (std::all_of(text.begin(), text.end(), absl::ascii_isdigit)) {
    model::Sequence sequence = 0;
    if (!absl::SimpleAtoi(text, &sequence)) return absl::InvalidArgumentError("a state's number is too large");
    return first_that([&](const model::RecoveryPoint& point) { return point.sequence == sequence; });
  }
  auto labelled = first_that([&](const model::RecoveryPoint& point) { return point.label == text; });
  if (labelled.ok()) return labelled;
  absl::Time time;
  if (!ParseTime(text, time)) {
    RETURN_IF_ERROR(CheckForTime(text));
    return none;
  }
  SortByTime(all);
  return first_that([&](const model::RecoveryPoint& point) {
    return point.completes_capture && TimeOf(point) != absl::UnixEpoch() && TimeOf(point) <= time;
  });
}

Document ToDocument(const model::RecoveryPoint& point) {
  return {
      {"sequence", point.sequence},
      {"captured_at", TimeOrNull(point.captured_at)},
      {"committed_at", TimeOrNull(point.committed_at)},
      {"completes_capture", point.completes_capture},
      {"consistency", IsTold(point) ? Document(std::string(model::ToString(point.consistency))) : Document(nullptr)},
      {"held_bytes", point.held_bytes},
      {"label", point.label.empty() ? Document(nullptr) : Document(point.label)},
      {"pinned", point.pinned}};
}

Document ToDocument(const model::PointTree& tree) {
  return {{"id", tree.id},
          {"volume", tree.volume},
          {"sequence", tree.sequence},
          {"path", Printable(tree.path)},
          {"writable", tree.writable},
          {"state", std::string(model::ToString(tree.state))},
          {"made_at", TimeOrNull(tree.made_at)}};
}

std::string ListingText(const model::RecoveryPoints& points) {
  std::vector<const model::RecoveryPoint*> rows = {&points.newest};
  for (const model::RecoveryPoint& point : points.points) rows.push_back(&point);
  std::stable_sort(rows.begin(), rows.end(), [](const auto* a, const auto* b) { return IsNewer(*a, *b); });
  Table table({"STATE", "TIME", "CONSISTENCY", "LABEL", "PINNED", "BYTES", ""});
  for (const model::RecoveryPoint* const point : rows) {
    const bool is_now = point == &points.newest;
    std::string note = !is_now ? "" : points.held ? "now, held" : "now";
    if (!point->completes_capture) note += note.empty() ? "midst of a capture" : ", midst of a capture";
    table.Add({fmt::format("{}", point->sequence), TimeText(TimeOf(*point)),
               IsTold(*point) ? std::string(model::ToString(point->consistency)) : "-",
               point->label.empty() ? "-" : point->label, point->pinned ? "yes" : "no",
               is_now ? "-" : fmt::format("{}", point->held_bytes), note});
  }
  std::string text = table.Text();
  if (points.trees.empty()) return text;
  Table trees({"TREE", "STATE", "PATH", "WRITABLE", "IS"});
  for (const model::PointTree& tree : points.trees) {
    trees.Add({tree.id, fmt::format("{}", tree.sequence), Printable(tree.path), tree.writable ? "yes" : "no",
               std::string(model::ToString(tree.state))});
  }
  return text + "\n" + trees.Text();
}

}  // namespace understudy::control
