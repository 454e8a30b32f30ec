#include "control/apply/standby_state.h"

#include <algorithm>
#include <utility>

#include "control/apply/ownership.h"
#include "core/base/status.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::FieldAt;
using kube::IsTerminating;
using kube::PhaseOf;
using kube::TextAt;

// Whether `present` is what the primary's object was made from when DR was live.
bool IsOriginal(const nlohmann::json& present, const model::CatalogEntry& wanted) {
  const nlohmann::json at_primary = nlohmann::json::parse(wanted.resource, nullptr, /*allow_exceptions=*/false);
  return IsOurs(at_primary) && SourceUidOf(at_primary) == TextAt(present, {"metadata", "uid"});
}

}  // namespace

std::string_view ToString(StandbyPhase phase) {
  switch (phase) {
    case StandbyPhase::kApplied:
      return "applied";
    case StandbyPhase::kPending:
      return "pending";
    case StandbyPhase::kFailed:
      return "failed";
  }
  AbortOnBrokenInvariant("known StandbyPhase", __FILE__, __LINE__);
}

StandbyObject JudgeStandby(const model::CatalogEntry& wanted, const nlohmann::json* present) {
  const auto is = [&](StandbyPhase phase, std::string reason) {
    return StandbyObject{.key = wanted.key, .phase = phase, .reason = std::move(reason)};
  };
  if (present == nullptr) {
    return {.key = wanted.key, .phase = StandbyPhase::kPending, .reason = "isn't there yet", .is_absent = true};
  }
  const bool is_original = IsOriginal(*present, wanted);
  if (!IsOurs(*present) && !is_original) {
    return is(StandbyPhase::kFailed, "an object of that name is there that isn't Understudy's: rename or delete it");
  }
  if (IsTerminating(*present)) return is(StandbyPhase::kPending, "is being deleted, and will be made again");
  if (SourceUidOf(*present) != wanted.uid && !is_original)
    return is(StandbyPhase::kPending, "is of an earlier object of that name");
  const std::string phase = PhaseOf(*present);
  if (wanted.key.kind == model::ObjectKind::kPersistentVolumeClaim && phase != "Bound") {
    if (phase == "Lost") return is(StandbyPhase::kFailed, "is Lost: its PersistentVolume was taken away; delete it");
    return is(StandbyPhase::kPending, "isn't bound yet");
  }
  if (wanted.key.kind == model::ObjectKind::kPersistentVolume && phase == "Failed") {
    return is(StandbyPhase::kFailed, "is Failed: " + TextAt(*present, {"status", "message"}));
  }
  const bool is_snapshot = wanted.key.kind == model::ObjectKind::kVolumeSnapshot ||
                           wanted.key.kind == model::ObjectKind::kVolumeSnapshotContent;
  if (const nlohmann::json& status = FieldAt(*present, {"status"});
      is_snapshot && FieldAt(status, {"readyToUse"}) != true) {
    const std::string error = TextAt(status, {"error", "message"});
    return is(StandbyPhase::kPending, "isn't ready to use yet" + (error.empty() ? "" : ": " + error));
  }
  return is(StandbyPhase::kApplied, "");
}

StandbyState CompareStandby(const std::vector<model::CatalogEntry>& wanted, const PresentObjects& present) {
  StandbyState state;
  for (const model::CatalogEntry& entry : wanted) {
    const auto found = present.find(entry.key);
    StandbyObject object = JudgeStandby(entry, found == present.end() ? nullptr : &found->second);
    ++(object.phase == StandbyPhase::kApplied   ? state.applied
       : object.phase == StandbyPhase::kPending ? state.pending
                                                : state.failed);
    if (object.phase != StandbyPhase::kApplied) state.problems.push_back(std::move(object));
  }
  std::stable_sort(state.problems.begin(), state.problems.end(),
                   [](const StandbyObject& a, const StandbyObject& b) { return a.phase > b.phase; });
  if (state.problems.size() > StandbyState::kMaxProblems) state.problems.resize(StandbyState::kMaxProblems);
  return state;
}

}  // namespace understudy::control
