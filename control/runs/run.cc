#include "control/runs/run.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/named.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kWhose = "a run";  // in messages

constexpr Named<RunMode> kModes[] = {{RunMode::kPlanned, "planned"},
                                     {RunMode::kUnplanned, "unplanned"},
                                     {RunMode::kTest, "test"},
                                     {RunMode::kReprotect, "reprotect"},
                                     {RunMode::kFailback, "failback"}};
constexpr Named<RunState> kRunStates[] = {{RunState::kRunning, "running"}, {RunState::kInterrupted, "interrupted"},
                                          {RunState::kFailed, "failed"},   {RunState::kDone, "done"},
                                          {RunState::kPartial, "partial"}, {RunState::kAborted, "aborted"}};
constexpr Named<ItemState> kItemStates[] = {{ItemState::kPending, "pending"}, {ItemState::kRunning, "running"},
                                            {ItemState::kDone, "done"},       {ItemState::kAlready, "already"},
                                            {ItemState::kFailed, "failed"},   {ItemState::kBroken, "broken"},
                                            {ItemState::kLeftOut, "left-out"}};

template <class Value>
absl::StatusOr<Value> Member(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return absl::InvalidArgumentError(fmt::format("a run's member '{}' is missing", key));
  try {
    return found->get<Value>();
  } catch (const nlohmann::json::exception& unfit) {
    return absl::InvalidArgumentError(fmt::format("a run's member '{}': {}", key, unfit.what()));
  }
}

}  // namespace

std::string_view ToString(RunMode mode) {
  return NameOf(kModes, mode);
}
absl::StatusOr<RunMode> ParseRunMode(std::string_view text) {
  return ValueOf(kModes, text, kWhose);
}
std::string_view ToString(RunState state) {
  return NameOf(kRunStates, state);
}
absl::StatusOr<RunState> ParseRunState(std::string_view text) {
  return ValueOf(kRunStates, text, kWhose);
}
std::string_view ToString(ItemState state) {
  return NameOf(kItemStates, state);
}
absl::StatusOr<ItemState> ParseItemState(std::string_view text) {
  return ValueOf(kItemStates, text, kWhose);
}

bool HasEnded(ItemState state) {
  return state == ItemState::kDone || state == ItemState::kAlready || state == ItemState::kBroken ||
         state == ItemState::kLeftOut;
}

std::pair<std::string, std::string> SplitKey(std::string_view key) {
  const size_t slash = key.find('/');
  if (slash == std::string_view::npos) return {"", std::string(key)};
  return {std::string(key.substr(0, slash)), std::string(key.substr(slash + 1))};
}

ItemState StepRecord::State() const {
  const auto any = [&](ItemState state) {
    return std::any_of(items.begin(), items.end(), [&](const ItemRecord& item) { return item.state == state; });
  };
  if (any(ItemState::kRunning)) return ItemState::kRunning;
  if (any(ItemState::kFailed)) return ItemState::kFailed;
  if (ended_at) return ItemState::kDone;
  return begun_at ? ItemState::kRunning : ItemState::kPending;
}

const ItemRecord* StepRecord::Find(std::string_view key) const {
  const auto found = std::find_if(items.begin(), items.end(), [&](const ItemRecord& item) { return item.key == key; });
  return found == items.end() ? nullptr : &*found;
}

const StepRecord* RunRecord::Find(std::string_view step) const {
  const auto found =
      std::find_if(steps.begin(), steps.end(), [&](const StepRecord& record) { return record.name == step; });
  return found == steps.end() ? nullptr : &*found;
}

Json ToJson(const RunSpec& spec) {
  return {{"id", spec.id},
          {"plan", spec.plan},
          {"mode", std::string(ToString(spec.mode))},
          {"namespaces", spec.namespaces},
          {"volumes", spec.volumes},
          {"backup", spec.backup},
          {"allow_incomplete", spec.allow_incomplete},
          {"primary_is_down", spec.primary_is_down},
          {"keep", spec.keep},
          {"started_by", spec.started_by},
          {"started_at", Rfc3339(spec.started_at)}};
}

absl::StatusOr<RunSpec> ParseRunSpec(std::string_view text) {
  const Json document = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return absl::InvalidArgumentError("a run's description isn't a JSON object");
  RunSpec spec;
  ASSIGN_OR_RETURN(spec.id, Member<std::string>(document, "id"));
  ASSIGN_OR_RETURN(spec.plan, Member<std::string>(document, "plan"));
  ASSIGN_OR_RETURN(const std::string mode, Member<std::string>(document, "mode"));
  ASSIGN_OR_RETURN(spec.mode, ParseRunMode(mode));
  ASSIGN_OR_RETURN(spec.namespaces, Member<std::vector<std::string>>(document, "namespaces"));
  ASSIGN_OR_RETURN(spec.volumes, Member<std::vector<std::string>>(document, "volumes"));
  ASSIGN_OR_RETURN(spec.backup, Member<std::string>(document, "backup"));
  ASSIGN_OR_RETURN(spec.allow_incomplete, Member<bool>(document, "allow_incomplete"));
  if (document.contains("primary_is_down")) {
    ASSIGN_OR_RETURN(spec.primary_is_down, Member<bool>(document, "primary_is_down"));
  }
  ASSIGN_OR_RETURN(spec.keep, Member<bool>(document, "keep"));
  ASSIGN_OR_RETURN(spec.started_by, Member<std::string>(document, "started_by"));
  ASSIGN_OR_RETURN(const std::string started_at, Member<std::string>(document, "started_at"));
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, started_at, &spec.started_at, &error)) {
    return absl::InvalidArgumentError(fmt::format("a run's member 'started_at': {}", error));
  }
  return spec;
}

ExitCode ExitCodeOf(const RunRecord& run) {
  if (run.state == RunState::kDone) return ExitCode::kDone;
  return run.state == RunState::kPartial ? ExitCode::kPartial : ExitCode::kFailed;
}

}  // namespace understudy::control
