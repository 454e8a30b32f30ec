// The part of the action runner that compares DR's catalog with complete lists of the cluster.
#include <utility>

#include "agent-primary/rules/action_runner.h"
#include "core/base/log.h"

namespace understudy::primary {

void ActionRunner::WorkOnReconciliation() {
  const absl::Status status = Reconcile();
  absl::MutexLock lock(&mutex_);
  if (status.ok()) {
    counters_.reconciled = true;
    queue_.Done(std::nullopt);
    return;
  }
  ++counters_.failures;
  spdlog::debug("DR's catalog can't be compared with the cluster yet: {}", MessageOf(status));
  queue_.Failed(std::nullopt, kRemovalRank);
}

absl::Status ActionRunner::Reconcile() {
  if (options_.keeper != nullptr) RETURN_IF_ERROR(options_.keeper->CheckCluster());
  ASSIGN_OR_RETURN(const OwnEntries own, ListOwnEntries());
  // Claims first: while a PersistentVolume is in the catalog, it says whose its claim is.
  for (const model::ObjectKind kind :
       {model::ObjectKind::kPersistentVolumeClaim, model::ObjectKind::kVolumeSnapshot,
        model::ObjectKind::kVolumeSnapshotContent, model::ObjectKind::kPersistentVolume}) {
    RETURN_IF_ERROR(DeleteMissing(kind, own.at(kind)));
  }
  return absl::OkStatus();
}

absl::Status ActionRunner::ListOwn(model::ObjectKind with_data, model::ObjectKind without, OwnEntries& own) {
  std::set<std::string> others;
  std::vector<model::CatalogEntry>& mine = own[with_data];
  ASSIGN_OR_RETURN(std::vector<model::CatalogEntry> all, catalog_.List(with_data));
  for (model::CatalogEntry& entry : all) {
    const std::optional<NfsSource> source = DataSourceOf(with_data, entry.resource);
    if (source && volumes_.Locate(source->server, source->path)) {
      mine.push_back(std::move(entry));
    } else {
      others.insert(entry.key.name);
    }
  }
  ASSIGN_OR_RETURN(own[without], catalog_.List(without));
  std::erase_if(own[without], [&](const model::CatalogEntry& entry) { return others.contains(entry.volume); });
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
  // What is put into the catalog was live before: what the list returned and isn't live now has gone.
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

// Doesn't wait for room: workers call it.
void ActionRunner::BeginRemoval(const ObjectDeletion& deletion) {
  Action removal{.kind = Action::Kind::kDelete,
                 .key = deletion.key,
                 .uid = deletion.uid,
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
