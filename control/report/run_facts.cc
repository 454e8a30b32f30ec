#include "control/report/run_facts.h"

#include <algorithm>
#include <cmath>

namespace understudy::control {
namespace {

using Json = nlohmann::ordered_json;

// nullptr: there is none, or it is null.
const Json* Find(const Json& facts, const char* key) {
  if (!facts.is_object()) return nullptr;
  const auto found = facts.find(key);
  return found == facts.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace

std::string TextFact(const Json& facts, const char* key) {
  const Json* const fact = Find(facts, key);
  return fact != nullptr && fact->is_string() ? fact->get<std::string>() : "";
}

std::optional<uint64_t> NumberFact(const Json& facts, const char* key) {
  const Json* const fact = Find(facts, key);
  if (fact == nullptr || !fact->is_number_integer()) return std::nullopt;
  if (!fact->is_number_unsigned() && fact->get<int64_t>() < 0) return std::nullopt;
  return fact->get<uint64_t>();
}

std::optional<bool> TruthFact(const Json& facts, const char* key) {
  const Json* const fact = Find(facts, key);
  if (fact == nullptr || !fact->is_boolean()) return std::nullopt;
  return fact->get<bool>();
}

std::optional<absl::Time> TimeFact(const Json& facts, const char* key) {
  absl::Time time;
  if (!absl::ParseTime(absl::RFC3339_full, TextFact(facts, key), &time, nullptr)) return std::nullopt;
  return time;
}

std::optional<absl::Duration> DurationFact(const Json& facts, const char* key) {
  const Json* const fact = Find(facts, key);
  if (fact == nullptr || !fact->is_number() || !std::isfinite(fact->get<double>())) return std::nullopt;
  return absl::Seconds(fact->get<double>());
}

const Json& ListFact(const Json& facts, const char* key) {
  static const Json kEmpty = Json::array();
  const Json* const fact = Find(facts, key);
  return fact != nullptr && fact->is_array() ? *fact : kEmpty;
}

const Json& FactsOfStep(const RunRecord& run, std::string_view step) {
  static const Json kNone;
  const StepRecord* const record = run.Find(step);
  return record != nullptr && record->items.size() == 1 ? record->items[0].facts : kNone;
}

const ItemRecord* FindItem(const RunRecord& run, std::string_view step, std::string_view key) {
  const StepRecord* const record = run.Find(step);
  return record != nullptr ? record->Find(key) : nullptr;
}

bool IsSo(const ItemRecord& item) {
  return item.state == ItemState::kDone || item.state == ItemState::kAlready;
}

bool HasFailed(ItemState state) {
  return state == ItemState::kFailed || state == ItemState::kBroken;
}

RunEnds EndsOf(const RunRecord& run) {
  const bool turns_dr =
      run.spec.mode == RunMode::kReprotect && TextFact(FactsOfStep(run, "inventory"), "live_at") == "primary";
  if (run.spec.mode == RunMode::kFailback || turns_dr) {
    return {.source = "DR", .target = "the primary", .source_site = "dr"};
  }
  return {.source = "the primary", .target = "DR", .source_site = "primary"};
}

}  // namespace understudy::control
