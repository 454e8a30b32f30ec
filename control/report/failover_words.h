// failover_words.h: the sentences that text and HTML of a failover report share. What comes out may hold anything that
// the run's record holds, so it is escaped by whoever shows it. Pure; only for the sources of this folder.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/report/failover_report.h"

namespace understudy::control {

// "planned failover of shop".
[[nodiscard]] std::string TitleOf(const FailoverReport& report);
// How long it took and what was lost: a sentence each, the most important first.
[[nodiscard]] std::vector<std::string> SummaryOf(const FailoverReport& report);
// What the run is: who began it, when, with what; as label and value.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> HeadOf(const FailoverReport& report);
// What wasn't done on purpose, and why.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> LeftOutOf(const FailoverReport& report);

// "2026-01-02 03:04:05 UTC"; "-": none.
[[nodiscard]] std::string DayText(const std::optional<absl::Time>& time);
// "03:04:05" on the day on which the run began, else with its date; "-": none.
[[nodiscard]] std::string ClockText(const FailoverReport& report, const std::optional<absl::Time>& time);
// "-": none.
[[nodiscard]] std::string DurationText(const std::optional<absl::Duration>& duration);
[[nodiscard]] std::string StateText(const std::optional<ItemState>& state);

// Up to when the step was at work, as far as it is known; none: it wasn't begun.
[[nodiscard]] std::optional<absl::Time> EndOfStep(const FailoverReport& report, const StepRecord& step);
// "done", "failed", "done, in part", "not reached", …
[[nodiscard]] std::string StateOfStep(const FailoverReport& report, const StepRecord& step);
// "3 done, 1 failed".
[[nodiscard]] std::string CountsOf(const StepRecord& step);
// What the item left behind, in short; hooks apart.
[[nodiscard]] std::string FactsText(const nlohmann::ordered_json& facts);
[[nodiscard]] std::string GapText(const FailoverReport& report, const RunGap& gap);
// "epoch 3, sequence 812"; "1.2 s old (captured …)"; …: whatever is known of it.
[[nodiscard]] std::string CopyText(const FailoverReport& report, const VolumeOutcome& volume);
[[nodiscard]] std::string VerificationText(const VolumeOutcome& volume);
[[nodiscard]] std::string BootText(const FailoverReport& report, const MachineOutcome& machine);
[[nodiscard]] std::string ProbeText(const ProbeOutcome& probe);

// Those with problems first, then as they are; at most kMaxRenderedRows.
[[nodiscard]] std::vector<const ItemRecord*> ShownItems(const StepRecord& step);
// What is shown of a long text: its begin, with a mark.
[[nodiscard]] std::string Shortened(std::string_view text);

}  // namespace understudy::control
