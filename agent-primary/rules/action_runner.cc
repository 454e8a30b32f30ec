#include "agent-primary/rules/action_runner.h"

#include <fmt/format.h>

#include <thread>
#include <utility>

#include "core/base/log.h"

namespace understudy::primary {
namespace {

// Says that the data of a claim or a snapshot isn't across: no failure, its outcome wakes it.
absl::Status WaitsFor(const model::ObjectKey& data) {
  return absl::FailedPreconditionError(fmt::format("waits for {}", ToString(data)));
}

// One removal that does what both would: with different uids, of whatever is there. It speaks for the event of the one
// that was there already only if it has none itself.
void MergeRemoval(std::optional<Action>& into, Action removal) {
  if (into && into->uid != removal.uid) removal.uid.clear();
  if (into) removal.admitted = removal.admitted && into->admitted;
  if (into && removal.event_id.empty()) removal.event_id = into->event_id;
  into = std::move(removal);
}

}  // namespace

ActionRunner::ActionRunner(VolumeActions& volumes, model::CatalogWriter& catalog, ActionRunnerOptions options,
                           Clock& clock)
    : volumes_(volumes),
      catalog_(catalog),
      options_(options),
      queue_(options.retry_first, options.retry_longest, clock) {}

ActionRunner::~ActionRunner() = default;

int ActionRunner::RankOf(const Action& action) {
  if (action.kind == Action::Kind::kDelete) return kRemovalRank;
  return action.kind == Action::Kind::kSyncVolume ? kVolumeRank : kClaimRank;
}

void ActionRunner::Run(std::stop_token stop) {
  const std::stop_callback release_senders(stop, [this] {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  });
  std::vector<std::jthread> workers;
  workers.emplace_back([this, stop] { WorkOn(stop, kRemovalRank); });
  for (int i = 0; i < options_.workers; ++i) {
    workers.emplace_back([this, stop] { WorkOn(stop, kClaimRank); });
  }
}

void ActionRunner::OnEvent(const model::ObjectEvent& event) {
  std::string replaced;  // an event
  {
    absl::MutexLock lock(&mutex_);
    if (event.type == model::EventType::kDeleted) {
      live_[event.key.kind].erase(event.key);
    } else {
      live_[event.key.kind].insert(event.key);
      if (const auto concluded = concluded_.extract(event.key)) replaced = concluded.mapped().event_id;
    }
  }
  Tell(replaced, ActionResult::kIgnored, kReplaced);
  if (options_.keeper != nullptr && event.type != model::EventType::kDeleted) options_.keeper->NoteLive(event.key);
  Action action = Decide(event);
  if (event.concluded && action.kind == Action::Kind::kDelete) {
    // One list's deletions are judged together, once all of it is known.
    absl::MutexLock lock(&mutex_);
    concluded_[action.key] = {
        .key = action.key, .uid = action.uid, .resource = action.resource, .event_id = action.event_id};
    return;
  }
  switch (action.kind) {
    case Action::Kind::kIgnore:
      spdlog::debug("{} {}", ToString(action.key), action.reason);
      if (action.never_replicated) SetVolume(DataKeyOf(action), {});
      return Tell(action.event_id, ActionResult::kIgnored, action.reason);
    default:
      Submit(std::move(action));
  }
}

void ActionRunner::OnSynced(model::ObjectKind kind, const std::set<model::ObjectKey>& keys) {
  absl::MutexLock lock(&mutex_);
  live_[kind] = keys;
  synced_.insert(kind);
  if (ListsAreComplete()) queue_.Add(std::nullopt, kRemovalRank);
}

bool ActionRunner::ListsAreComplete() const {
  return IsListed(model::ObjectKind::kPersistentVolume);
}

// With what it is bound to; a kind that isn't served never is.
bool ActionRunner::IsListed(model::ObjectKind kind) const {
  switch (kind) {
    case model::ObjectKind::kPersistentVolume:
    case model::ObjectKind::kPersistentVolumeClaim:
      return synced_.contains(model::ObjectKind::kPersistentVolume) &&
             synced_.contains(model::ObjectKind::kPersistentVolumeClaim);
    case model::ObjectKind::kVolumeSnapshot:
    case model::ObjectKind::kVolumeSnapshotContent:
      return synced_.contains(model::ObjectKind::kVolumeSnapshot) &&
             synced_.contains(model::ObjectKind::kVolumeSnapshotContent);
  }
  AbortOnBrokenInvariant("known ObjectKind", __FILE__, __LINE__);
}

ActionRunnerStatus ActionRunner::Status() const {
  absl::MutexLock lock(&mutex_);
  ActionRunnerStatus status = counters_;
  status.pending = work_.size();
  for (const auto& [data, waiting] : waiting_) status.waiting += waiting.size();
  for (const auto& [key, work] : work_) {
    if (status.problems.size() >= kMaxProblems) return status;
    if (!work.problem.empty()) status.problems.push_back({.key = key, .message = work.problem});
  }
  return status;
}

void ActionRunner::Tell(const std::string& event_id, ActionResult result, std::string_view reason) const {
  if (options_.observer != nullptr && !event_id.empty()) options_.observer->OnResult(event_id, result, reason);
}

void ActionRunner::Submit(Action action) {
  std::vector<std::string> replaced;  // events
  const std::string event_id = action.event_id;
  {
    absl::MutexLock lock(&mutex_);
    Enter(std::move(action), replaced);
  }
  TellReplaced(replaced, event_id);
}

void ActionRunner::TellReplaced(const std::vector<std::string>& replaced, const std::string& by) const {
  for (const std::string& event_id : replaced) {
    if (event_id != by) Tell(event_id, ActionResult::kIgnored, kReplaced);
  }
}

void ActionRunner::Enter(Action action, std::vector<std::string>& replaced) {
  const model::ObjectKey key = action.key;
  const auto has_room = [this, &key]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopped_ || work_.size() < options_.max_objects || work_.contains(key);
  };
  mutex_.Await(absl::Condition(&has_room));
  if (stopped_) return;
  if (action.kind == Action::Kind::kDelete) return EnterRemoval(std::move(action), replaced);
  Work& work = work_[key];
  if (work.newest) replaced.push_back(work.newest->event_id);
  work.newest = std::move(action);
  Enqueue(key, work);
}

void ActionRunner::EnterRemoval(Action action, std::vector<std::string>& replaced) {
  const model::ObjectKey key = action.key;
  Work& work = work_[key];
  if (work.newest) replaced.push_back(work.newest->event_id);
  // Whose event is told of then is MergeRemoval's to say.
  if (work.removal && !action.event_id.empty()) replaced.push_back(work.removal->event_id);
  work.newest.reset();
  MergeRemoval(work.removal, std::move(action));
  if (work.running) work.running->request_stop();
  Enqueue(key, work);
}

void ActionRunner::Enqueue(const model::ObjectKey& key, const Work& work) {
  queue_.Add(key, RankOf(work.removal ? *work.removal : *work.newest));
}

void ActionRunner::WorkOn(std::stop_token stop, int worst_rank) {
  while (const std::optional<Task> task = queue_.Take(stop, worst_rank)) {
    if (task->has_value()) {
      WorkOnObject(**task, stop);
    } else {
      WorkOnReconciliation();
    }
  }
}

void ActionRunner::WorkOnObject(const model::ObjectKey& key, std::stop_token stop) {
  Action action;
  auto running = std::make_shared<std::stop_source>();
  {
    absl::MutexLock lock(&mutex_);
    const auto found = work_.find(key);
    if (found == work_.end()) {
      queue_.Done(key);
      return;
    }
    Work& work = found->second;
    std::optional<Action>& slot = work.removal ? work.removal : work.newest;
    action = *std::exchange(slot, std::nullopt);
    work.running = running;
    work.removing = action.kind == Action::Kind::kDelete;
    if (const auto waiting = waiting_.find(DataKeyOf(action)); waiting != waiting_.end()) {
      waiting->second.erase(key);
      if (waiting->second.empty()) waiting_.erase(waiting);
    }
  }
  const std::stop_callback pass_on(stop, [&running] { running->request_stop(); });
  const absl::StatusOr<ActionResult> result = Execute(action, running->get_token());
  Finish(key, action, result, stop.stop_requested());
}

void ActionRunner::Finish(const model::ObjectKey& key, const Action& action, const absl::StatusOr<ActionResult>& result,
                          bool stopped) {
  const absl::Status& status = result.status();
  // While the key is still held, so that nobody tells of a later try first.
  if (status.ok()) {
    Tell(action.event_id, *result, action.reason);
  } else if (!stopped) {
    Tell(action.event_id, ActionResult::kRetrying, MessageOf(status));
  }
  bool replaced = false;
  {
    absl::MutexLock lock(&mutex_);
    replaced = Settle(key, action, status, stopped);
  }
  if (!status.ok() && replaced) Tell(action.event_id, ActionResult::kIgnored, kReplaced);
}

bool ActionRunner::Settle(const model::ObjectKey& key, const Action& action, const absl::Status& status, bool stopped) {
  Work& work = work_.at(key);
  work.running.reset();
  work.removing = false;
  const bool is_removal = action.kind == Action::Kind::kDelete;
  const bool superseded = !is_removal && !work.Empty();
  bool replaced = superseded;
  if (!status.ok() && !superseded) {
    if (is_removal) {
      Action again = action;
      // A later deletion came meanwhile: what is left to do is that one's.
      replaced = work.removal && !work.removal->event_id.empty() && work.removal->event_id != action.event_id;
      if (replaced) again.event_id = work.removal->event_id;
      MergeRemoval(work.removal, std::move(again));
    } else {
      work.newest = action;
    }
  }
  if (status.ok() || superseded) {
    work.problem.clear();
    if (work.Empty()) {
      work_.erase(key);
    } else {
      Enqueue(key, work);
    }
    queue_.Done(key);
  } else if (Waits(key, action)) {
    queue_.Done(key);
  } else {
    ++counters_.failures;
    const std::string message(MessageOf(status));
    if (!stopped && message != work.problem)
      spdlog::warn("{} isn't done, will be tried again: {}", ToString(key), message);
    work.problem = message;
    queue_.Failed(key, RankOf(action));
  }
  return replaced;
}

bool ActionRunner::Waits(const model::ObjectKey& key, const Action& action) const {
  const auto waiting = waiting_.find(DataKeyOf(action));
  return waiting != waiting_.end() && waiting->second.contains(key);
}

absl::StatusOr<ActionResult> ActionRunner::Execute(Action& action, std::stop_token stop) {
  switch (action.kind) {
    case Action::Kind::kSyncVolume:
      RETURN_IF_ERROR(SyncVolume(action, stop));
      return ActionResult::kDone;
    case Action::Kind::kSyncClaim:
      RETURN_IF_ERROR(SyncClaim(action, stop));
      return ActionResult::kDone;
    case Action::Kind::kDelete:
      return Remove(action);
    default:
      AbortOnBrokenInvariant("an action to execute", __FILE__, __LINE__);
  }
}

absl::Status ActionRunner::SyncVolume(const Action& action, std::stop_token stop) {
  const std::optional<VolumePlace> place = volumes_.Locate(action.source.server, action.source.path);
  if (!place) {
    spdlog::debug("{} is on {}:{}, which this pair doesn't protect", ToString(action.key), action.source.server,
                  Printable(action.source.path));
    SetVolume(DataKeyOf(action), {.source = action.source, .place = std::nullopt});
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(volumes_.Register(action.volume, *place));
  RETURN_IF_ERROR(volumes_.SyncToBarrier(action.volume, stop));
  RETURN_IF_ERROR(Put(action, action.source, *place));
  SetVolume(DataKeyOf(action), {.source = action.source, .place = place});
  return absl::OkStatus();
}

absl::Status ActionRunner::SyncClaim(const Action& action, std::stop_token stop) {
  Volume volume;
  {
    absl::MutexLock lock(&mutex_);
    const model::ObjectKey data = DataKeyOf(action);
    const auto known = known_volumes_.find(data);
    if (known == known_volumes_.end()) {
      waiting_[data].insert(action.key);
      return WaitsFor(data);
    }
    volume = known->second;
  }
  if (!volume.place) return absl::OkStatus();
  RETURN_IF_ERROR(volumes_.SyncToBarrier(action.volume, stop));
  return Put(action, volume.source, *volume.place);
}

absl::StatusOr<ActionResult> ActionRunner::Remove(Action& action) {
  if (!action.admitted) {
    ASSIGN_OR_RETURN(const ActionResult admitted, AdmitRemoval(action));
    if (admitted != ActionResult::kDone) return admitted;
    action.admitted = true;
  }
  RETURN_IF_ERROR(RemoveEntry(action));
  RETURN_IF_ERROR(DiscardData(action));
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
  if (!options_.keeper->KnowsWhatIsAtDr()) RETURN_IF_ERROR(ListOwnEntries().status());
  ASSIGN_OR_RETURN(
      const bool admitted,
      options_.keeper->Admit(
          {.key = action.key, .uid = action.uid, .resource = action.resource, .event_id = action.event_id}));
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

absl::Status ActionRunner::RemoveEntry(const Action& action) {
  if (HasData(action.key.kind)) {
    // First of all: who deleted the object may delete the data next, and DR is to keep it.
    if (!IsOthersVolume(action.key)) RETURN_IF_ERROR(volumes_.Unregister(action.key.name));
    absl::MutexLock lock(&mutex_);
    known_volumes_.erase(action.key);
  }
  RETURN_IF_ERROR(catalog_.Delete(action.key, action.uid));
  if (options_.keeper != nullptr) options_.keeper->NoteRemoved(action.key);
  spdlog::info("{} is gone from the primary, and from DR's catalog", ToString(action.key));
  absl::MutexLock lock(&mutex_);
  announced_.erase(action.key);
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

absl::Status ActionRunner::Put(const Action& action, const NfsSource& source, const VolumePlace& place) {
  RETURN_IF_ERROR(catalog_.Put({.key = action.key,
                                .uid = action.uid,
                                .resource = action.resource,
                                .volume = action.volume,
                                .replica_path = place.replica_path,
                                .server = source.server,
                                .observed_at = action.observed_at}));
  if (options_.keeper != nullptr) options_.keeper->NotePut(action.key);
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
