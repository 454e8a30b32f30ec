#include "control/report/failover_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "control/report/failover_render.h"
#include "control/report/run_facts.h"

namespace understudy::control {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

std::string_view KindOf(RunMode mode) {
  switch (mode) {
    case RunMode::kPlanned:
      return "planned failover";
    case RunMode::kUnplanned:
      return "unplanned failover";
    case RunMode::kTest:
      return "test failover";
    case RunMode::kReprotect:
      return "reprotection";
    case RunMode::kFailback:
      return "failback";
  }
  AbortOnBrokenInvariant("known RunMode", __FILE__, __LINE__);
}

std::string RecoveryTimeText(const FailoverReport& report) {
  const RecoveryTime& time = report.recovery_time;
  if (time.basis == RecoveryBasis::kNone) return "";
  const bool machines = time.basis == RecoveryBasis::kMachines;
  if (time.took) {
    const std::string_view what = machines ? "virtual machine" : "volume";
    return fmt::format("Recovery time (RTO): {}, until {} was {}", DurationText(*time.took),
                       time.of == 1 ? fmt::format("the {}", what) : fmt::format("the last of {} {}s", time.of, what),
                       machines ? "well" : "active");
  }
  return fmt::format(
      "Recovery time (RTO): not reached: {} of {} {}{}", time.reached, time.of,
      machines ? "virtual machines are well" : "volumes are active",
      time.last_at ? fmt::format(", the last one after {}", DurationText(*time.last_at - report.run.spec.started_at))
                   : "");
}

std::string RecoveryPointText(const FailoverReport& report) {
  const RecoveryPoint& point = report.recovery_point;
  if (point.volumes == 0 || report.run.spec.mode == RunMode::kReprotect) return "";
  if (!point.worst) {
    // A rehearsal's copies say nothing of their age.
    if (report.run.spec.mode == RunMode::kTest && point.unknown == point.volumes) return "";
    return fmt::format("Recovery point (RPO): not known of {} of {} volumes", point.unknown, point.volumes);
  }
  if (*point.worst <= absl::ZeroDuration()) {
    return fmt::format(
        "Recovery point (RPO): 0 s: nothing is lost in {} volumes; each was read-only at {} before its last sync",
        point.volumes, EndsOf(report.run).source);
  }
  const auto by_commit = std::count_if(report.volumes.begin(), report.volumes.end(), [](const VolumeOutcome& volume) {
    return volume.data_age_by == "newest-commit" && volume.recovery_point > absl::ZeroDuration();
  });
  return fmt::format("Recovery point (RPO): {}: the age of the data of the worst of {} volumes{}",
                     DurationText(*point.worst), point.volumes,
                     by_commit == 0 ? "" : fmt::format("; of {} only the newest commit's age is known", by_commit));
}

// Whoever reads no further than the first lines has to know that there are any.
std::string WarningsText(const FailoverReport& report) {
  if (report.warnings.empty()) return "";
  const RunWarning& first = report.warnings.front();
  return fmt::format(
      "{}: {}{}{}: {}",
      report.warnings.size() == 1 ? "1 warning" : fmt::format("{} warnings, the first", report.warnings.size()),
      first.step, first.item.empty() ? "" : " ", first.item, first.text);
}

// Without a word of the primary nobody knows whether anything was written after the newest commit, or nothing for days.
std::string DataAgeText(const FailoverReport& report, const VolumeOutcome& volume) {
  const std::string age = DurationText(*volume.data_age) + " old";
  if (volume.data_age_by == "confirmation") {
    return fmt::format("{} (DR had everything at {})", age, ClockText(report, volume.confirmed_at));
  }
  if (volume.data_age_by == "newest-commit")
    return age + " by its newest commit (whether more was written isn't known)";
  return age;
}

// One value of facts, on a line.
std::string ValueText(const nlohmann::ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_array()) {
    const bool plain = std::all_of(value.begin(), value.end(), [](const auto& element) { return element.is_string(); });
    if (!plain || value.empty()) return fmt::format("{} listed", value.size());
    return absl::StrJoin(value, ", ",
                         [](std::string* out, const auto& element) { *out += element.template get<std::string>(); });
  }
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

int RankOf(const ItemRecord& item) {
  constexpr std::array<ItemState, 5> kFirst = {ItemState::kFailed, ItemState::kBroken, ItemState::kRunning,
                                               ItemState::kPending, ItemState::kLeftOut};
  const auto at = std::find(kFirst.begin(), kFirst.end(), item.state);
  return static_cast<int>(at - kFirst.begin());
}

}  // namespace

std::string TitleOf(const FailoverReport& report) {
  return fmt::format("{} of {}", KindOf(report.run.spec.mode), report.run.spec.plan);
}

std::vector<std::string> SummaryOf(const FailoverReport& report) {
  std::vector<std::string> summary;
  const auto add = [&](std::string text) {
    if (!text.empty()) summary.push_back(std::move(text));
  };
  if (!report.run.error.empty()) add("What went wrong: " + report.run.error);
  add(RecoveryTimeText(report));
  add(RecoveryPointText(report));
  add(WarningsText(report));
  if (!report.gaps.empty()) {
    add(fmt::format("Of its {}, nothing was under way during {} (see the gaps)",
                    DurationText(EndOf(report) - report.run.spec.started_at), DurationText(WaitedIn(report))));
  }
  return summary;
}

Rows HeadOf(const FailoverReport& report) {
  const RunSpec& spec = report.run.spec;
  const auto listed = [](const std::vector<std::string>& texts) {
    return texts.empty() ? std::string("-") : absl::StrJoin(texts, ", ");
  };
  Rows head = {
      {"run", spec.id},
      {"plan", fmt::format("{} ({})", spec.plan, ToString(spec.mode))},
      {"result", fmt::format("{}, exit code {}", ToString(report.run.state), static_cast<int>(ExitCodeOf(report.run)))},
      {"started by", spec.started_by},
      {"started", DayText(spec.started_at)},
      {"ended", report.run.ended_at ? DayText(report.run.ended_at) : "not yet; written " + DayText(report.written_at)},
      {"took", DurationText(EndOf(report) - spec.started_at)},
      {"namespaces", listed(spec.namespaces)}};
  if (!spec.volumes.empty()) head.emplace_back("volumes by hand", listed(spec.volumes));
  const nlohmann::ordered_json& backup = FactsOfStep(report.run, "backup");
  if (report.run.Find("backup") != nullptr) {
    head.emplace_back("backup asked for", spec.backup.empty() ? "the latest" : spec.backup);
  }
  if (const std::string name = TextFact(backup, "name"); !name.empty()) {
    const std::optional<absl::Duration> age = DurationFact(backup, "age_seconds");
    head.emplace_back("backup used", fmt::format("{}, {}, of {}{}", name, TextFact(backup, "phase"),
                                                 DayText(TimeFact(backup, "started_at")),
                                                 age ? fmt::format(", {} old", DurationText(*age)) : ""));
  }
  if (spec.allow_incomplete) head.emplace_back("asked for", "volumes that were never across as a whole, too");
  return head;
}

Rows LeftOutOf(const FailoverReport& report) {
  Rows left_out;
  if (report.run.spec.mode == RunMode::kUnplanned) {
    for (const char* const step : {"stop-vms", "fence", "final-sync", "pause"}) {
      if (report.run.Find(step) == nullptr) {
        left_out.emplace_back(step, "an unplanned run does nothing that needs the primary site");
      }
    }
  }
  for (const StepRecord& step : report.run.steps) {
    for (const ItemRecord& item : step.items) {
      if (item.state != ItemState::kLeftOut) continue;
      left_out.emplace_back(item.key.empty() ? step.name : step.name + " " + item.key, item.message);
    }
  }
  return left_out;
}

std::string DayText(const std::optional<absl::Time>& time) {
  return time ? absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", *time, absl::UTCTimeZone()) : "-";
}

std::string ClockText(const FailoverReport& report, const std::optional<absl::Time>& time) {
  if (!time) return "-";
  constexpr char kDay[] = "%Y-%m-%d";
  const absl::TimeZone utc = absl::UTCTimeZone();
  const bool same_day = absl::FormatTime(kDay, *time, utc) == absl::FormatTime(kDay, report.run.spec.started_at, utc);
  return absl::FormatTime(same_day ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", *time, utc);
}

std::string DurationText(absl::Duration duration) {
  if (duration < absl::ZeroDuration()) return "-" + DurationText(-duration);
  constexpr int64_t kMinute = 60;
  constexpr int64_t kHour = 60 * kMinute;
  constexpr int64_t kDay = 24 * kHour;
  const int64_t tenths = absl::ToInt64Milliseconds(duration + absl::Milliseconds(50)) / 100;
  if (tenths == 0) return "0 s";
  if (tenths < 10 * kMinute) return fmt::format("{}.{} s", tenths / 10, tenths % 10);
  const int64_t seconds = absl::ToInt64Seconds(duration + absl::Milliseconds(500));
  if (seconds < kHour) return fmt::format("{} min {} s", seconds / kMinute, seconds % kMinute);
  if (seconds < kDay) return fmt::format("{} h {} min", seconds / kHour, seconds % kHour / kMinute);
  return fmt::format("{} d {} h", seconds / kDay, seconds % kDay / kHour);
}

std::string DurationText(const std::optional<absl::Duration>& duration) {
  return duration ? DurationText(*duration) : "-";
}

std::string StateText(const std::optional<ItemState>& state) {
  return state ? std::string(ToString(*state)) : "-";
}

std::optional<absl::Time> EndOfStep(const FailoverReport& report, const StepRecord& step) {
  if (!step.begun_at || step.ended_at) return step.ended_at;
  if (report.run.state == RunState::kRunning && step.State() == ItemState::kRunning) return EndOf(report);
  std::optional<absl::Time> last = step.begun_at;
  for (const ItemRecord& item : step.items) last = std::max({last, item.begun_at, item.ended_at});
  return last;
}

std::string StateOfStep(const FailoverReport& report, const StepRecord& step) {
  const ItemState state = step.State();
  if (state == ItemState::kPending) return "not reached";
  const bool has_broken = std::any_of(step.items.begin(), step.items.end(),
                                      [](const ItemRecord& item) { return item.state == ItemState::kBroken; });
  if (step.ended_at && has_broken) return "in part";
  if (state == ItemState::kRunning && report.run.state != RunState::kRunning) return "unfinished";
  const bool nothing_done =
      !step.items.empty() && std::all_of(step.items.begin(), step.items.end(),
                                         [](const ItemRecord& item) { return item.state == ItemState::kLeftOut; });
  return nothing_done ? "left out" : std::string(ToString(state));
}

std::string CountsOf(const StepRecord& step) {
  constexpr ItemState kStates[] = {ItemState::kFailed,  ItemState::kBroken,  ItemState::kDone,   ItemState::kAlready,
                                   ItemState::kLeftOut, ItemState::kRunning, ItemState::kPending};
  std::vector<std::string> parts;
  for (const ItemState state : kStates) {
    const auto count = std::count_if(step.items.begin(), step.items.end(),
                                     [&](const ItemRecord& item) { return item.state == state; });
    if (count > 0) parts.push_back(fmt::format("{} {}", count, ToString(state)));
  }
  return absl::StrJoin(parts, ", ");
}

std::string FactsText(const nlohmann::ordered_json& facts) {
  if (!facts.is_object()) return "";
  std::vector<std::string> parts;
  for (const auto& [key, value] : facts.items()) {
    if (value.is_null() || key == "hooks") continue;
    parts.push_back(fmt::format("{}: {}", absl::StrReplaceAll(key, {{"_", " "}}), ValueText(value)));
  }
  return absl::StrJoin(parts, "; ");
}

std::string GapText(const FailoverReport& report, const RunGap& gap) {
  std::string where;
  if (gap.after.empty() || gap.before.empty()) {
    where = gap.before.empty() ? gap.after : gap.before;
    if (!where.empty()) where = (gap.before.empty() ? ", after " : ", before ") + where;
  } else {
    where = gap.after == gap.before ? ", in " + gap.after : fmt::format(", between {} and {}", gap.after, gap.before);
  }
  return fmt::format("{} from {} to {}{}: {}", DurationText(gap.Length()), ClockText(report, gap.begin),
                     ClockText(report, gap.end), where,
                     gap.reason.empty() ? "nothing is recorded" : "nothing was under way; " + gap.reason);
}

std::string CopyText(const FailoverReport& report, const VolumeOutcome& volume) {
  std::vector<std::string> parts;
  if (volume.epoch) parts.push_back(fmt::format("epoch {}", *volume.epoch));
  if (volume.sequence) parts.push_back(fmt::format("sequence {}", *volume.sequence));
  if (volume.captured_at)
    parts.push_back(
        fmt::format("as {} had it at {}", EndsOf(report.run).source, ClockText(report, volume.captured_at)));
  if (!volume.consistency.empty()) parts.push_back(volume.consistency);
  if (volume.data_age) parts.push_back(DataAgeText(report, volume));
  if (volume.complete == false) parts.emplace_back("NEVER ACROSS AS A WHOLE");
  return absl::StrJoin(parts, ", ");
}

std::string VerificationText(const VolumeOutcome& volume) {
  if (!volume.verification) return "-";
  std::string text = StateText(volume.verification);
  if (!volume.verified_depth.empty()) text += ", " + volume.verified_depth;
  if (volume.differences) text += fmt::format(", {} differences", *volume.differences);
  return text;
}

std::string BootText(const FailoverReport& report, const MachineOutcome& machine) {
  std::string text = StateText(machine.boot);
  if (!machine.outcome.empty()) text += ", " + machine.outcome;
  if (machine.well_at) {
    text += fmt::format(", well at {} ({} after the begin)", ClockText(report, machine.well_at),
                        DurationText(*machine.well_at - report.run.spec.started_at));
  }
  return text;
}

std::string ProbeText(const ProbeOutcome& probe) {
  return fmt::format("{}: {}{}", probe.probe.empty() ? "probe" : probe.probe, ToString(probe.state),
                     probe.result.empty() ? "" : ", " + probe.result);
}

std::vector<const ItemRecord*> ShownItems(const StepRecord& step) {
  std::vector<const ItemRecord*> items;
  for (const ItemRecord& item : step.items) items.push_back(&item);
  std::stable_sort(items.begin(), items.end(),
                   [](const ItemRecord* a, const ItemRecord* b) { return RankOf(*a) < RankOf(*b); });
  items.resize(std::min(items.size(), kMaxRenderedRows));
  return items;
}

std::string Shortened(std::string_view text) {
  if (text.size() <= kMaxRenderedBytes) return std::string(text);
  // Not within a character.
  size_t end = kMaxRenderedBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return fmt::format("{} … ({} bytes more)", text.substr(0, end), text.size() - end);
}

}  // namespace understudy::control
