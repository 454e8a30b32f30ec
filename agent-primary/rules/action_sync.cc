// The part of the action runner that brings data across, then its object into DR's catalog.
#include <fmt/format.h>

#include <utility>

#include "agent-primary/rules/action_runner.h"
#include "core/base/log.h"

namespace understudy::primary {
namespace {

// Says that the data of a claim or a snapshot isn't across: no failure, its outcome wakes it.
absl::Status WaitsFor(const model::ObjectKey& data) {
  return absl::FailedPreconditionError(fmt::format("waits for {}", ToString(data)));
}

}  // namespace

absl::StatusOr<ActionResult> ActionRunner::Execute(Action& action, std::stop_token stop) {
  action.held = false;
  switch (action.kind) {
    case Action::Kind::kSyncVolume:
      RETURN_IF_ERROR(SyncVolume(action, stop));
      return ActionResult::kDone;
    case Action::Kind::kSyncClaim:
      RETURN_IF_ERROR(SyncClaim(action, stop));
      return ActionResult::kDone;
    case Action::Kind::kPauseVolume:
      RETURN_IF_ERROR(PauseVolume(action));
      return ActionResult::kDone;
    case Action::Kind::kDelete:
      return Remove(action);
    default:
      AbortOnBrokenInvariant("an action to execute", __FILE__, __LINE__);
  }
}

absl::Status ActionRunner::SyncVolume(Action& action, std::stop_token stop) {
  const std::optional<VolumePlace> place = volumes_.Locate(action.source.server, action.source.path);
  if (!place) {
    spdlog::debug("{} is on {}:{}, which this pair doesn't protect", ToString(action.key), action.source.server,
                  Printable(action.source.path));
    SetVolume(DataKeyOf(action), {.source = action.source, .place = std::nullopt, .owner_uid = action.owner_uid});
    std::optional<Action> removal = PredecessorOf(action, std::nullopt);
    return removal ? RemoveFirst(*std::move(removal), action) : absl::OkStatus();
  }
  const absl::Status across = BringAcross(action, *place, stop);
  if (!across.ok() && !absl::IsCancelled(across) && !absl::IsDeadlineExceeded(across)) {
    std::optional<Action> removal = PredecessorOf(action, *place);
    return removal ? RemoveFirst(*std::move(removal), action) : across;
  }
  RETURN_IF_ERROR(across);
  RETURN_IF_ERROR(Put(action, action.source, *place));
  SetVolume(DataKeyOf(action), {.source = action.source, .place = place, .owner_uid = action.owner_uid});
  return absl::OkStatus();
}

absl::Status ActionRunner::BringAcross(Action& action, const VolumePlace& place, std::stop_token stop) {
  RETURN_IF_ERROR(volumes_.Register(action.volume, place));
  {
    absl::MutexLock lock(&mutex_);
    registered_[action.key] = {.uid = action.uid,
                               .resource = action.resource,
                               .source = action.source,
                               .claim_uid = action.goes_with_owner ? action.owner_uid : std::string()};
  }
  if (!action.is_released) RETURN_IF_ERROR(volumes_.Resume(action.volume));
  return volumes_.SyncToBarrier(action.volume, action.barrier, stop);
}

std::vector<ActionRunner::Holder> ActionRunner::HoldersOf(const model::ObjectKey& key) const {
  std::vector<Holder> found;
  if (options_.keeper != nullptr) {
    // What left the catalog before an agent ended that was to discard its data.
    for (const ObjectDeletion& deletion : options_.keeper->Approved(key.kind)) {
      const std::optional<NfsSource> source = DataSourceOf(key.kind, deletion.resource);
      if (deletion.key == key && source)
        found.push_back({.uid = deletion.uid, .resource = deletion.resource, .source = *source});
    }
  }
  absl::MutexLock lock(&mutex_);
  for (const std::map<model::ObjectKey, Holder>* const holders : {&registered_, &in_catalog_}) {
    if (const auto holder = holders->find(key); holder != holders->end()) found.push_back(holder->second);
  }
  return found;
}

std::optional<Action> ActionRunner::PredecessorOf(const Action& action, const std::optional<VolumePlace>& place) const {
  for (const Holder& holder : HoldersOf(action.key)) {
    if (holder.uid == action.uid) continue;
    const std::optional<VolumePlace> earlier = volumes_.Locate(holder.source.server, holder.source.path);
    // The same place: the replica is taken over.
    if (!earlier || (place && earlier->path == place->path)) continue;
    return Action{.kind = Action::Kind::kDelete,
                  .key = action.key,
                  .uid = holder.uid,
                  .resource = holder.resource,
                  .volume = action.volume,
                  .source = holder.source};
  }
  return std::nullopt;
}

std::optional<Action> ActionRunner::EarlierClaimOf(const Action& action) const {
  absl::MutexLock lock(&mutex_);
  const auto at_dr = announced_.find(action.key);
  if (at_dr == announced_.end() || at_dr->second == action.uid) return std::nullopt;
  return Action{.kind = Action::Kind::kDelete, .key = action.key, .uid = at_dr->second, .volume = action.volume};
}

absl::Status ActionRunner::RemoveFirst(Action removal, const Action& action) {
  ASSIGN_OR_RETURN(const ActionResult admitted, AdmitRemoval(removal));
  const std::string earlier =
      removal.source.path.empty()
          ? "the earlier one"
          : fmt::format("the earlier one at {}:{}", removal.source.server, Printable(removal.source.path));
  if (admitted != ActionResult::kDone) {
    return absl::UnavailableError(fmt::format("{} has to go first, and {}", earlier, removal.reason));
  }
  spdlog::info("{} was made anew, with its data elsewhere: {} goes first", ToString(removal.key), earlier);
  removal.admitted = true;
  absl::MutexLock lock(&mutex_);
  Work& work = work_.at(action.key);
  if (!work.newest) work.newest = action;
  if (!work.removal) work.removal = std::move(removal);
  return absl::UnavailableError(fmt::format("{} goes first", earlier));
}

absl::Status ActionRunner::PauseVolume(const Action& action) {
  const std::optional<VolumePlace> place = volumes_.Locate(action.source.server, action.source.path);
  return place ? volumes_.Pause(action.volume, *place) : absl::OkStatus();
}

// A claim that was seen to go: who reclaims its volume is told of that no earlier than this.
void ActionRunner::PauseVolumeOfClaim(const Action& deletion) {
  if (deletion.key.kind != model::ObjectKind::kPersistentVolumeClaim || deletion.uid.empty()) return;
  Action pause{.kind = Action::Kind::kPauseVolume, .key = DataKeyOf(deletion), .volume = deletion.volume};
  {
    absl::MutexLock lock(&mutex_);
    const auto volume = registered_.find(pause.key);
    if (volume == registered_.end() || volume->second.claim_uid != deletion.uid) return;
    pause.source = volume->second.source;
  }
  if (const absl::Status paused = PauseVolume(pause); !paused.ok()) spdlog::debug("{}", MessageOf(paused));
}

absl::Status ActionRunner::SyncClaim(Action& action, std::stop_token stop) {
  const model::ObjectKey data = DataKeyOf(action);
  Volume volume;
  bool is_anothers = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto known = known_volumes_.find(data);
    is_anothers = known != known_volumes_.end() && options_.lookup && !known->second.owner_uid.empty() &&
                  known->second.owner_uid != action.uid;
    if (known == known_volumes_.end() || is_anothers) BeginWait(action.key, data);
    if (known == known_volumes_.end()) return WaitsFor(data);
    volume = known->second;
  }
  if (is_anothers) {
    LookForVolumeOf(action);
    return WaitsFor(data);
  }
  if (!volume.place) {
    std::optional<Action> removal = EarlierClaimOf(action);
    return removal ? RemoveFirst(*std::move(removal), action) : absl::OkStatus();
  }
  RETURN_IF_ERROR(volumes_.SyncToBarrier(action.volume, action.barrier, stop));
  return Put(action, volume.source, *volume.place);
}

void ActionRunner::LookForVolumeOf(const Action& action) {
  const model::ObjectKey data = DataKeyOf(action);
  absl::StatusOr<std::string> object = options_.lookup(data);
  if (!object.ok()) return;
  Action newer = Decide({.type = model::EventType::kModified,
                         .key = data,
                         .resource = *std::move(object),
                         .event_id = "",
                         .observed_at = clock_.Now()});
  if (newer.kind != Action::Kind::kSyncVolume || newer.owner_uid != action.uid) return;
  absl::MutexLock lock(&mutex_);
  if (stopped_ || work_.contains(data)) return;
  Work& work = work_[data];
  work.newest = std::move(newer);
  Enqueue(data, work);
}

// A cluster that can't be asked says nothing.
absl::Status ActionRunner::CheckReplacement(const Action& action) {
  if (options_.keeper == nullptr) return absl::OkStatus();
  const absl::Status recognised = options_.keeper->CheckCluster();
  if (!absl::IsFailedPrecondition(recognised)) return absl::OkStatus();
  if (HasData(action.key.kind)) RETURN_IF_ERROR(ListOwnEntries().status());
  absl::MutexLock lock(&mutex_);
  const auto at_dr = in_catalog_.find(action.key);
  const auto announced = announced_.find(action.key);
  const bool is_anothers = (at_dr != in_catalog_.end() && at_dr->second.uid != action.uid) ||
                           (announced != announced_.end() && announced->second != action.uid);
  return is_anothers ? recognised : absl::OkStatus();
}

absl::Status ActionRunner::Put(Action& action, const NfsSource& source, const VolumePlace& place) {
  RETURN_IF_ERROR(CheckReplacement(action));
  const absl::Status put = catalog_.Put({.key = action.key,
                                         .uid = action.uid,
                                         .resource = action.resource,
                                         .volume = action.volume,
                                         .replica_path = place.replica_path,
                                         .server = source.server,
                                         .observed_at = action.observed_at});
  action.held = absl::IsFailedPrecondition(put);
  RETURN_IF_ERROR(put);
  if (options_.keeper != nullptr) options_.keeper->NotePut(action.key, action.uid);
  absl::MutexLock lock(&mutex_);
  ++counters_.put;
  if (std::exchange(announced_[action.key], action.uid) == action.uid) return absl::OkStatus();
  spdlog::info("{} is in DR's catalog volume={}", ToString(action.key), action.volume);
  return absl::OkStatus();
}

void ActionRunner::SetVolume(const model::ObjectKey& data, Volume volume) {
  absl::MutexLock lock(&mutex_);
  known_volumes_[data] = std::move(volume);
  const auto waiting = waiting_.find(data);
  if (waiting == waiting_.end()) return;
  for (const model::ObjectKey& claim : waiting->second) queue_.Add(claim, kClaimRank);
}

}  // namespace understudy::primary
