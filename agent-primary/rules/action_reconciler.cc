// The part of the action runner that compares DR's catalog with complete lists of the cluster.
#include <fmt/format.h>

#include <utility>

#include "agent-primary/rules/action_runner.h"
#include "core/base/log.h"

namespace understudy::primary {

void ActionRunner::WorkOnReconciliation() {
  const absl::Status status = Reconcile();
  absl::MutexLock lock(&mutex_);
  if (status.ok()) counters_.reconciled = true;
  // A list that is doubted is read again, and that leads here.
  if (status.ok() || absl::IsAborted(status)) {
    return queue_.Later(std::nullopt, kRemovalRank, options_.reconcile_interval);
  }
  ++counters_.failures;
  spdlog::debug("DR's catalog can't be compared with the cluster yet: {}", MessageOf(status));
  queue_.Failed(std::nullopt, kRemovalRank);
}

absl::Status ActionRunner::Reconcile() {
  if (options_.keeper != nullptr) RETURN_IF_ERROR(options_.keeper->CheckCluster());
  ASSIGN_OR_RETURN(const OwnEntries own, ListOwnEntries());
  absl::Status first_error;
  // Claims first: while a PersistentVolume is in the catalog, it says whose its claim is.
  for (const model::ObjectKind kind :
       {model::ObjectKind::kPersistentVolumeClaim, model::ObjectKind::kVolumeSnapshot,
        model::ObjectKind::kVolumeSnapshotContent, model::ObjectKind::kPersistentVolume}) {
    first_error.Update(DeleteMissing(kind, own.at(kind)));
    first_error.Update(PutLostAgain(kind, own.at(kind)));
  }
  return first_error;
}

absl::Status ActionRunner::ListOwn(model::ObjectKind with_data, model::ObjectKind without, OwnEntries& own) {
  std::set<std::string> others;
  std::map<model::ObjectKey, Holder> in_catalog;
  std::vector<model::CatalogEntry>& mine = own[with_data];
  ASSIGN_OR_RETURN(std::vector<model::CatalogEntry> all, catalog_.List(with_data));
  for (model::CatalogEntry& entry : all) {
    const std::optional<NfsSource> source = DataSourceOf(with_data, entry.resource);
    if (source && volumes_.Locate(source->server, source->path)) {
      in_catalog[entry.key] = {.uid = entry.uid, .resource = entry.resource, .source = *source};
      mine.push_back(std::move(entry));
    } else {
      others.insert(entry.key.name);
    }
  }
  ASSIGN_OR_RETURN(own[without], catalog_.List(without));
  std::erase_if(own[without], [&](const model::CatalogEntry& entry) { return others.contains(entry.volume); });
  absl::MutexLock lock(&mutex_);
  std::erase_if(in_catalog_, [&](const auto& holder) { return holder.first.kind == with_data; });
  in_catalog_.merge(in_catalog);
  return absl::OkStatus();
}

absl::StatusOr<ActionRunner::OwnEntries> ActionRunner::ListOwnEntries() {
  OwnEntries own;
  RETURN_IF_ERROR(ListOwn(model::ObjectKind::kPersistentVolume, model::ObjectKind::kPersistentVolumeClaim, own));
  RETURN_IF_ERROR(ListOwn(model::ObjectKind::kVolumeSnapshotContent, model::ObjectKind::kVolumeSnapshot, own));
  if (options_.keeper == nullptr) return own;
  absl::MutexLock lock(&mutex_);
  for (const auto& [kind, entries] : own) {
    std::set<model::ObjectKey> keys;
    for (const model::CatalogEntry& entry : entries) keys.insert(entry.key);
    // What was put while the catalog was read.
    for (const auto& [key, uid] : announced_) {
      if (key.kind == kind) keys.insert(key);
    }
    std::erase_if(keys,
                  [this](const model::ObjectKey& key) ABSL_NO_THREAD_SAFETY_ANALYSIS { return BeingRemoved(key); });
    options_.keeper->SetAtDr(kind, std::move(keys));
  }
  return own;
}

// Whether the guard has let its removal pass already.
bool ActionRunner::BeingRemoved(const model::ObjectKey& key) const {
  const auto work = work_.find(key);
  if (work == work_.end()) return false;
  return work->second.removing || (work->second.removal && work->second.removal->admitted);
}

ActionRunner::Missing ActionRunner::MissingOf(model::ObjectKind kind, const std::vector<model::CatalogEntry>& entries) {
  Missing missing;
  const std::set<model::ObjectKey>& live = live_[kind];
  std::set<model::ObjectKey> in_catalog;
  for (const model::CatalogEntry& entry : entries) {
    in_catalog.insert(entry.key);
    const auto work = work_.find(entry.key);
    const bool under_way = work != work_.end() && (work->second.removal || work->second.removing);
    if (live.contains(entry.key) || under_way) continue;
    const auto concluded = concluded_.find(entry.key);
    missing.at_dr.push_back({.key = entry.key,
                             .uid = entry.uid,
                             .resource = entry.resource,
                             .event_id = concluded == concluded_.end() ? "" : concluded->second.event_id});
  }
  // What left the catalog before an agent ended that was to discard its data.
  const std::vector<ObjectDeletion> begun =
      options_.keeper == nullptr ? std::vector<ObjectDeletion>() : options_.keeper->Approved(kind);
  for (const ObjectDeletion& deletion : begun) {
    const bool known = in_catalog.contains(deletion.key) || concluded_.contains(deletion.key);
    if (!known && !live.contains(deletion.key) && !work_.contains(deletion.key)) missing.at_dr.push_back(deletion);
  }
  for (const auto& [key, deletion] : concluded_) {
    if (key.kind != kind || live.contains(key) || in_catalog.contains(key)) continue;
    // A replica may be on its way although its object isn't at DR yet.
    const std::optional<NfsSource> source = DataSourceOf(kind, deletion.resource);
    const bool has_data = source && volumes_.Locate(source->server, source->path).has_value();
    (has_data ? missing.at_dr : missing.elsewhere).push_back(deletion);
  }
  return missing;
}

// Whether the rules let the deletion of an object happen that no event told of.
bool ActionRunner::MayDelete(const ObjectDeletion& deletion) const {
  if (options_.observer == nullptr || !deletion.event_id.empty()) return true;
  model::CatalogEntry entry;
  entry.key = deletion.key;
  entry.uid = deletion.uid;
  entry.resource = deletion.resource;
  return options_.observer->MayDelete(entry);
}

ActionRunner::Told ActionRunner::TakeConcluded(model::ObjectKind kind) {
  Told told;
  absl::MutexLock lock(&mutex_);
  std::erase_if(concluded_, [&](const auto& deletion) {
    if (deletion.first.kind != kind) return false;
    told[deletion.first] = deletion.second.event_id;
    return true;
  });
  return told;
}

absl::Status ActionRunner::ConfirmGone(model::ObjectKind kind, const std::vector<ObjectDeletion>& missing) {
  uint64_t list = 0;
  {
    absl::MutexLock lock(&mutex_);
    list = lists_[kind];
  }
  absl::Status gone = LookForEach(missing);
  if (!gone.ok() && options_.keeper != nullptr) {
    // They aren't admitted after all.
    for (const ObjectDeletion& deletion : missing) options_.keeper->NoteKept(deletion.key);
  }
  absl::MutexLock lock(&mutex_);
  if (!absl::IsAborted(gone)) {
    if (gone.ok()) doubts_.erase(kind);
    return gone;
  }
  const auto before = doubts_.find(kind);
  const bool again = before != doubts_.end() && (before->second.again || before->second.list != list);
  if (again) spdlog::warn("{}", MessageOf(gone));
  doubts_[kind] = {.reason = std::string(MessageOf(gone)), .list = list, .again = again};
  return gone;
}

absl::Status ActionRunner::LookForEach(const std::vector<ObjectDeletion>& missing) const {
  if (!options_.lookup) return absl::OkStatus();
  for (const ObjectDeletion& deletion : missing) {
    {
      absl::MutexLock lock(&mutex_);
      if (stopped_) return absl::CancelledError("the agent stops");
    }
    const absl::StatusOr<std::string> found = options_.lookup(deletion.key);
    if (absl::IsNotFound(found.status())) continue;
    RETURN_IF_ERROR(found.status());
    return absl::AbortedError(
        fmt::format("the cluster's list lacks {}, which is there when it is asked for by name: nothing is deleted at "
                    "DR on that list's word",
                    ToString(deletion.key)));
  }
  return absl::OkStatus();
}

bool ActionRunner::Doubts(model::ObjectKind kind) const {
  absl::MutexLock lock(&mutex_);
  return doubts_.contains(kind);
}

// What the catalog lost, or has of an earlier object of the name, although this agent put it there.
std::vector<model::ObjectKey> ActionRunner::LostOf(model::ObjectKind kind,
                                                   const std::vector<model::CatalogEntry>& entries) const {
  std::map<model::ObjectKey, std::string> uids;
  for (const model::CatalogEntry& entry : entries) uids[entry.key] = entry.uid;
  std::vector<model::ObjectKey> lost;
  absl::MutexLock lock(&mutex_);
  const auto live = live_.find(kind);
  if (live == live_.end()) return lost;
  for (const auto& [key, uid] : announced_) {
    if (key.kind != kind || !live->second.contains(key) || work_.contains(key)) continue;
    const auto entry = uids.find(key);
    if (entry == uids.end() || entry->second != uid) lost.push_back(key);
  }
  return lost;
}

// Doesn't wait for room: workers call it.
absl::Status ActionRunner::PutLostAgain(model::ObjectKind kind, const std::vector<model::CatalogEntry>& entries) {
  if (!options_.lookup) return absl::OkStatus();
  const std::vector<model::ObjectKey> lost = LostOf(kind, entries);
  if (!lost.empty()) spdlog::warn("DR's catalog has lost {} of {}: put again", lost.size(), model::ToString(kind));
  for (const model::ObjectKey& key : lost) {
    absl::StatusOr<std::string> object = options_.lookup(key);
    if (absl::IsNotFound(object.status())) continue;
    RETURN_IF_ERROR(object.status());
    Action action = Decide({.type = model::EventType::kModified,
                            .key = key,
                            .resource = *std::move(object),
                            .event_id = "",
                            .observed_at = clock_.Now()});
    if (action.kind != Action::Kind::kSyncVolume && action.kind != Action::Kind::kSyncClaim) continue;
    absl::MutexLock lock(&mutex_);
    if (stopped_ || !live_[kind].contains(key) || work_.contains(key)) continue;
    Work& work = work_[key];
    work.newest = std::move(action);
    Enqueue(key, work);
  }
  return absl::OkStatus();
}

absl::Status ActionRunner::DeleteMissing(model::ObjectKind kind, const std::vector<model::CatalogEntry>& entries) {
  Missing missing;
  bool list_is_empty = false;
  {
    absl::MutexLock lock(&mutex_);
    if (!IsListed(kind)) return absl::OkStatus();
    missing = MissingOf(kind, entries);
    list_is_empty = live_[kind].empty();
  }
  std::erase_if(missing.at_dr, [this](const ObjectDeletion& deletion) { return !MayDelete(deletion); });
  std::set<model::ObjectKey> asked;
  for (const ObjectDeletion& deletion : missing.at_dr) asked.insert(deletion.key);
  if (options_.keeper != nullptr) {
    ASSIGN_OR_RETURN(missing.at_dr, options_.keeper->AdmitMissing(kind, std::move(missing.at_dr), list_is_empty));
  }
  RETURN_IF_ERROR(ConfirmGone(kind, missing.at_dr));
  Told left = TakeConcluded(kind);
  for (const std::vector<ObjectDeletion>* const deletions : {&missing.at_dr, &missing.elsewhere}) {
    for (const ObjectDeletion& deletion : *deletions) {
      left.erase(deletion.key);
      BeginRemoval(deletion);
    }
  }
  for (const auto& [key, event_id] : left) {
    const bool held = asked.contains(key);
    Tell(event_id, held ? ActionResult::kHeld : ActionResult::kIgnored, held ? kHeldBack : kReplaced);
  }
  return absl::OkStatus();
}

}  // namespace understudy::primary
