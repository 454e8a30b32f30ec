// The part of the action runner that takes objects out of DR's catalog, and their data to the trash.
#include <utility>

#include "agent-primary/rules/action_runner.h"
#include "core/base/log.h"

namespace understudy::primary {
namespace {

ObjectDeletion DeletionOf(const Action& action) {
  return {.key = action.key, .uid = action.uid, .resource = action.resource, .event_id = action.event_id};
}

}  // namespace

absl::StatusOr<ActionResult> ActionRunner::Remove(Action& action) {
  if (!action.admitted) {
    ASSIGN_OR_RETURN(const ActionResult admitted, AdmitRemoval(action));
    if (admitted != ActionResult::kDone) return admitted;
    action.admitted = true;
  }
  RETURN_IF_ERROR(RemoveEntry(action));
  RETURN_IF_ERROR(DiscardData(action));
  if (options_.keeper != nullptr) options_.keeper->NoteRemoved(action.key);
  return ActionResult::kDone;
}

absl::StatusOr<ActionResult> ActionRunner::AdmitRemoval(Action& action) {
  {
    absl::MutexLock lock(&mutex_);
    const auto announced = announced_.find(action.key);
    if (announced != announced_.end() && !action.uid.empty() && announced->second != action.uid) {
      action.reason = "is the deletion of an earlier object of that name, and comes late";
      spdlog::info("{} {}", ToString(action.key), action.reason);
      return ActionResult::kIgnored;
    }
  }
  if (options_.keeper == nullptr) return ActionResult::kDone;
  RETURN_IF_ERROR(options_.keeper->CheckCluster());
  if (!options_.keeper->KnowsWhetherAtDr(action.key)) RETURN_IF_ERROR(ListOwnEntries().status());
  ASSIGN_OR_RETURN(const bool admitted, options_.keeper->Admit(DeletionOf(action)));
  if (!admitted) action.reason = kHeldBack;
  return admitted ? ActionResult::kDone : ActionResult::kHeld;
}

absl::Status ActionRunner::DiscardData(const Action& action) {
  if (!HasData(action.key.kind)) return absl::OkStatus();
  const std::optional<VolumePlace> place = volumes_.Locate(action.source.server, action.source.path);
  if (!place) return absl::OkStatus();
  const absl::Status discarded = volumes_.Discard(action.key.name, *place);
  if (!absl::IsFailedPrecondition(discarded)) return discarded;
  // DR has its reasons, and trying again doesn't change them.
  spdlog::warn("volume={} was deleted; DR keeps its data where it is: {}", action.key.name, MessageOf(discarded));
  return absl::OkStatus();
}

absl::Status ActionRunner::RemoveEntry(Action& action) {
  if (HasData(action.key.kind)) {
    // First of all: who deleted the object may delete the data next, and DR is to keep it. Who deletes the data first
    // finds the volume paused (Action::Kind::kPauseVolume).
    if (!IsOthersVolume(action.key)) RETURN_IF_ERROR(volumes_.Unregister(action.key.name));
    {
      absl::MutexLock lock(&mutex_);
      known_volumes_.erase(action.key);
      registered_.erase(action.key);
    }
    // Without the entry nothing else would tell of the data.
    if (options_.keeper != nullptr) RETURN_IF_ERROR(options_.keeper->NoteRemoving(DeletionOf(action)));
  }
  const absl::Status deleted = catalog_.Delete(action.key, action.uid);
  action.held = absl::IsFailedPrecondition(deleted);
  RETURN_IF_ERROR(deleted);
  spdlog::info("{} is gone from the primary, and from DR's catalog", ToString(action.key));
  absl::MutexLock lock(&mutex_);
  announced_.erase(action.key);
  in_catalog_.erase(action.key);
  ++counters_.deleted;
  return absl::OkStatus();
}

// A PersistentVolume and a VolumeSnapshotContent of one name: only one of them can be the volume of that name.
bool ActionRunner::IsOthersVolume(const model::ObjectKey& key) const {
  model::ObjectKey other = key;
  other.kind = key.kind == model::ObjectKind::kPersistentVolume ? model::ObjectKind::kVolumeSnapshotContent
                                                                : model::ObjectKind::kPersistentVolume;
  absl::MutexLock lock(&mutex_);
  const auto known = known_volumes_.find(other);
  return known != known_volumes_.end() && known->second.place.has_value();
}

// Doesn't wait for room: workers call it.
void ActionRunner::BeginRemoval(const ObjectDeletion& deletion) {
  Action removal{.kind = Action::Kind::kDelete,
                 .key = deletion.key,
                 .uid = deletion.uid,
                 .resource = deletion.resource,
                 .admitted = true,
                 .event_id = deletion.event_id};
  if (HasData(deletion.key.kind)) {
    removal.volume = deletion.key.name;
    removal.source = DataSourceOf(deletion.key.kind, deletion.resource).value_or(NfsSource{});
  }
  bool is_back = false;
  std::vector<std::string> replaced;  // events
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return;
    is_back = live_[deletion.key.kind].contains(deletion.key);
    if (!is_back) EnterRemoval(std::move(removal), replaced);
  }
  if (is_back) Tell(deletion.event_id, ActionResult::kIgnored, kReplaced);
  TellReplaced(replaced, deletion.event_id);
}

absl::Status ActionRunner::ApproveGuard(const std::string& guard_kind, uint64_t gone) {
  if (options_.keeper == nullptr) return absl::FailedPreconditionError("no guard holds an object back");
  ASSIGN_OR_RETURN(const std::vector<ObjectDeletion> approved, options_.keeper->Approve(guard_kind, gone));
  for (const ObjectDeletion& deletion : approved) BeginRemoval(deletion);
  absl::MutexLock lock(&mutex_);
  if (ListsAreComplete()) queue_.Add(std::nullopt, kRemovalRank);
  return absl::OkStatus();
}

}  // namespace understudy::primary
