// run_facts.h: reads what a run's items left behind, which may be anything: what isn't there, or isn't of the expected
// kind, is as if it weren't known. Pure; only for the sources of this folder.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "control/runs/run.h"

namespace understudy::control {

[[nodiscard]] std::string TextFact(const nlohmann::ordered_json& facts, const char* key);
[[nodiscard]] std::optional<uint64_t> NumberFact(const nlohmann::ordered_json& facts, const char* key);
[[nodiscard]] std::optional<bool> TruthFact(const nlohmann::ordered_json& facts, const char* key);
// From RFC 3339.
[[nodiscard]] std::optional<absl::Time> TimeFact(const nlohmann::ordered_json& facts, const char* key);
// From a number of seconds.
[[nodiscard]] std::optional<absl::Duration> DurationFact(const nlohmann::ordered_json& facts, const char* key);
// An empty array when there is none.
[[nodiscard]] const nlohmann::ordered_json& ListFact(const nlohmann::ordered_json& facts, const char* key);

// What the step's only item left; null: nothing, or there is no such step.
[[nodiscard]] const nlohmann::ordered_json& FactsOfStep(const RunRecord& run, std::string_view step);
// nullptr: the run has no such step, or the step no such item.
[[nodiscard]] const ItemRecord* FindItem(const RunRecord& run, std::string_view step, std::string_view key);
// Whether what the item is for is so.
[[nodiscard]] bool IsSo(const ItemRecord& item);
// Whether somebody has to look at it: it failed, and the run stopped or went on without it.
[[nodiscard]] bool HasFailed(ItemState state);

// Which site a run takes from and which it gives to: a failback goes from DR to the primary, and a reprotection turns
// whichever side isn't live into a replica.
struct RunEnds {
  std::string_view source;       // "the primary", "DR"
  std::string_view target;       // likewise
  std::string_view source_site;  // as drctl's --site has it
};
[[nodiscard]] RunEnds EndsOf(const RunRecord& run);

}  // namespace understudy::control
