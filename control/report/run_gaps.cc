#include "control/report/run_gaps.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace understudy::control {
namespace {

struct Span {
  absl::Time begin;
  absl::Time end;
};

// Whether somebody took the run up again.
bool IsGoingOn(const RunNote& note) {
  return absl::StartsWithIgnoreCase(note.text, "resumed") || absl::StartsWithIgnoreCase(note.text, "removed");
}

// Everything that the record has a time for, within the run.
std::vector<absl::Time> RecordedTimes(const RunRecord& run) {
  std::vector<absl::Time> times = {run.spec.started_at};
  const auto add = [&](const std::optional<absl::Time>& time) {
    if (time) times.push_back(*time);
  };
  for (const StepRecord& step : run.steps) {
    add(step.begun_at);
    add(step.ended_at);
    for (const ItemRecord& item : step.items) {
      add(item.begun_at);
      add(item.ended_at);
    }
  }
  for (const RunNote& note : run.notes) times.push_back(note.at);
  std::sort(times.begin(), times.end());
  return times;
}

Span SpanOf(const std::optional<absl::Time>& begun, const std::optional<absl::Time>& ended, bool under_way,
            absl::Time now) {
  const absl::Time begin = begun.value_or(absl::InfiniteFuture());
  return {begin, ended.value_or(under_way ? now : begin)};
}

std::vector<Span> BusyTimes(const RunRecord& run, absl::Time now) {
  std::vector<Span> busy;
  const bool runs = run.state == RunState::kRunning;
  for (const StepRecord& step : run.steps) {
    if (step.items.empty() && step.begun_at) {
      busy.push_back(SpanOf(step.begun_at, step.ended_at, runs, now));
    }
    for (const ItemRecord& item : step.items) {
      const bool under_way = runs && item.state == ItemState::kRunning;
      if (item.begun_at) busy.push_back(SpanOf(item.begun_at, item.ended_at, under_way, now));
    }
  }
  return busy;
}

// `busy` without `idle`.
std::vector<Span> Without(const std::vector<Span>& busy, const Span& idle) {
  std::vector<Span> left;
  for (const Span& span : busy) {
    if (span.end <= idle.begin || span.begin >= idle.end) {
      left.push_back(span);
      continue;
    }
    if (span.begin < idle.begin) left.push_back({span.begin, idle.begin});
    if (span.end > idle.end) left.push_back({idle.end, span.end});
  }
  return left;
}

std::vector<Span> CutByNotes(std::vector<Span> busy, const RunRecord& run) {
  const std::vector<absl::Time> times = RecordedTimes(run);
  for (const RunNote& note : run.notes) {
    const auto at = std::lower_bound(times.begin(), times.end(), note.at);
    if (!IsGoingOn(note) || at == times.begin()) continue;
    busy = Without(busy, {*std::prev(at), note.at});
  }
  return busy;
}

RunGap Described(const RunRecord& run, const Span& idle, bool to_the_end) {
  RunGap gap{.begin = idle.begin, .end = idle.end, .after = "", .before = "", .reason = ""};
  for (const StepRecord& step : run.steps) {
    if (!step.begun_at) continue;
    if (*step.begun_at <= idle.begin) gap.after = step.name;
    const bool goes_on = !step.ended_at || *step.ended_at > idle.begin;
    if (gap.before.empty() && goes_on && !to_the_end) gap.before = step.name;
  }
  for (const RunNote& note : run.notes) {
    if (note.at > idle.begin && note.at <= idle.end) gap.reason = note.text;
  }
  if (gap.reason.empty() && to_the_end && run.state == RunState::kInterrupted) gap.reason = "nobody runs it";
  return gap;
}

}  // namespace

std::vector<RunGap> FindGaps(const RunRecord& run, absl::Time now) {
  std::vector<Span> busy = CutByNotes(BusyTimes(run, now), run);
  std::sort(busy.begin(), busy.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
  const absl::Time end = run.ended_at.value_or(now);
  std::vector<RunGap> gaps;
  absl::Time quiet_since = run.spec.started_at;
  for (const Span& span : busy) {
    if (span.begin - quiet_since >= kShortestGap) gaps.push_back(Described(run, {quiet_since, span.begin}, false));
    quiet_since = std::max(quiet_since, span.end);
  }
  if (end - quiet_since >= kShortestGap) gaps.push_back(Described(run, {quiet_since, end}, true));
  return gaps;
}

}  // namespace understudy::control
