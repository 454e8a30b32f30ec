#include "agent-primary/rules/action_runner.h"

#include <fmt/format.h>

#include <thread>
#include <utility>

#include "core/base/log.h"

namespace understudy::primary {
namespace {

// Deletions come first and have a worker of their own: they never wait for data.
constexpr int kRemovalRank = 0;
constexpr int kVolumeRank = 1;
constexpr int kClaimRank = 2;

// Says that a claim's PersistentVolume isn't across: no failure, the volume's outcome wakes it.
absl::Status WaitsForVolume(const std::string& volume) {
  return absl::FailedPreconditionError(fmt::format("waits for PersistentVolume {}", volume));
}

constexpr char kReplaced[] = "a newer event of the object took its place";

int RankOf(const Action& action) {
  if (action.kind == Action::Kind::kDelete) return kRemovalRank;
  return action.kind == Action::Kind::kSyncVolume ? kVolumeRank : kClaimRank;
}

// One removal that does what both would: with different uids, of whatever is there. It speaks for the event of the one
// that was there already only if it has none itself.
void MergeRemoval(std::optional<Action>& into, Action removal) {
  if (into && into->uid != removal.uid) removal.uid.clear();
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
  {
    absl::MutexLock lock(&mutex_);
    if (event.type == model::EventType::kDeleted) {
      live_[event.key.kind].erase(event.key);
      held_.erase(event.key);
    } else {
      live_[event.key.kind].insert(event.key);
    }
  }
  Action action = Decide(event);
  switch (action.kind) {
    case Action::Kind::kIgnore:
      spdlog::debug("{} {}", ToString(action.key), action.reason);
      // Its claims needn't wait for it.
      if (!action.volume.empty() && action.key.kind == model::ObjectKind::kPersistentVolume &&
          !NfsSourceOf(event.resource)) {
        SetVolume(action.volume, {});
      }
      return Tell(action.event_id, ActionResult::kIgnored, action.reason);
    case Action::Kind::kHold:
      Hold(action);
      return Tell(action.event_id, ActionResult::kHeld, action.reason);
    default:
      Submit(std::move(action));
  }
}

void ActionRunner::OnSynced(model::ObjectKind kind, const std::set<model::ObjectKey>& keys) {
  absl::MutexLock lock(&mutex_);
  live_[kind] = keys;
  synced_.insert(kind);
  const bool all = synced_.contains(model::ObjectKind::kPersistentVolume) &&
                   synced_.contains(model::ObjectKind::kPersistentVolumeClaim);
  if (all && !counters_.reconciled) queue_.Add(std::nullopt, kRemovalRank);
}

ActionRunnerStatus ActionRunner::Status() const {
  absl::MutexLock lock(&mutex_);
  ActionRunnerStatus status = counters_;
  status.pending = work_.size();
  for (const auto& [volume, claims] : waiting_) status.waiting += claims.size();
  for (const auto& [key, work] : work_) {
    if (status.problems.size() >= kMaxProblems) return status;
    if (!work.problem.empty()) status.problems.push_back({.key = key, .message = work.problem});
  }
  for (const auto& [key, reason] : held_) {
    if (status.problems.size() >= kMaxProblems) return status;
    status.problems.push_back({.key = key, .message = reason});
  }
  return status;
}

void ActionRunner::Hold(const Action& action) {
  absl::MutexLock lock(&mutex_);
  std::string& reason = held_[action.key];
  if (reason == action.reason) return;
  reason = action.reason;
  spdlog::warn("{} is held: {}", ToString(action.key), reason);
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
  for (const std::string& older : replaced) {
    if (older != event_id) Tell(older, ActionResult::kIgnored, kReplaced);
  }
}

void ActionRunner::Enter(Action action, std::vector<std::string>& replaced) {
  const model::ObjectKey key = action.key;
  const auto has_room = [this, &key]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopped_ || work_.size() < options_.max_objects || work_.contains(key);
  };
  mutex_.Await(absl::Condition(&has_room));
  if (stopped_) return;
  Work& work = work_[key];
  if (work.newest) replaced.push_back(work.newest->event_id);
  if (action.kind == Action::Kind::kDelete) {
    if (work.removal) replaced.push_back(work.removal->event_id);
    work.newest.reset();
    MergeRemoval(work.removal, std::move(action));
    if (work.running) work.running->request_stop();
  } else {
    work.newest = std::move(action);
  }
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
    if (const auto waiting = waiting_.find(action.volume); waiting != waiting_.end()) {
      waiting->second.erase(key);
      if (waiting->second.empty()) waiting_.erase(waiting);
    }
  }
  const std::stop_callback pass_on(stop, [&running] { running->request_stop(); });
  const absl::Status status = Execute(action, running->get_token());
  Finish(key, action, status, stop.stop_requested());
}

void ActionRunner::Finish(const model::ObjectKey& key, const Action& action, const absl::Status& status, bool stopped) {
  // While the key is still held, so that nobody tells of a later try first.
  if (status.ok()) {
    Tell(action.event_id, ActionResult::kDone, "");
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
  } else if (waiting_.contains(action.volume) && waiting_.at(action.volume).contains(key)) {
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

absl::Status ActionRunner::Execute(const Action& action, std::stop_token stop) {
  switch (action.kind) {
    case Action::Kind::kSyncVolume:
      return SyncVolume(action, stop);
    case Action::Kind::kSyncClaim:
      return SyncClaim(action, stop);
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
    SetVolume(action.volume, {.source = action.source, .place = std::nullopt});
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(volumes_.Register(action.volume, *place));
  RETURN_IF_ERROR(volumes_.SyncToBarrier(action.volume, stop));
  RETURN_IF_ERROR(Put(action, action.source, *place));
  SetVolume(action.volume, {.source = action.source, .place = place});
  return absl::OkStatus();
}

absl::Status ActionRunner::SyncClaim(const Action& action, std::stop_token stop) {
  Volume volume;
  {
    absl::MutexLock lock(&mutex_);
    const auto known = known_volumes_.find(action.volume);
    if (known == known_volumes_.end()) {
      waiting_[action.volume].insert(action.key);
      return WaitsForVolume(action.volume);
    }
    volume = known->second;
  }
  if (!volume.place) return absl::OkStatus();
  RETURN_IF_ERROR(volumes_.SyncToBarrier(action.volume, stop));
  return Put(action, volume.source, *volume.place);
}

absl::Status ActionRunner::Remove(const Action& action) {
  RETURN_IF_ERROR(RemoveEntry(action));
  return DiscardData(action);
}

absl::Status ActionRunner::DiscardData(const Action& action) {
  if (action.key.kind != model::ObjectKind::kPersistentVolume) return absl::OkStatus();
  const std::optional<VolumePlace> place = volumes_.Locate(action.source.server, action.source.path);
  if (!place) return absl::OkStatus();
  const absl::Status discarded = volumes_.Discard(action.key.name, *place);
  if (!absl::IsFailedPrecondition(discarded)) return discarded;
  // DR has its reasons, and trying again doesn't change them.
  spdlog::warn("volume={} was deleted; DR keeps its data where it is: {}", action.key.name, MessageOf(discarded));
  return absl::OkStatus();
}

absl::Status ActionRunner::RemoveEntry(const Action& action) {
  if (action.key.kind == model::ObjectKind::kPersistentVolume) {
    // First of all: who deleted the PersistentVolume may delete the data next, and DR is to keep it.
    RETURN_IF_ERROR(volumes_.Unregister(action.key.name));
    absl::MutexLock lock(&mutex_);
    known_volumes_.erase(action.key.name);
  }
  RETURN_IF_ERROR(catalog_.Delete(action.key, action.uid));
  spdlog::info("{} is gone from the primary, and from DR's catalog", ToString(action.key));
  absl::MutexLock lock(&mutex_);
  announced_.erase(action.key);
  ++counters_.deleted;
  return absl::OkStatus();
}

absl::Status ActionRunner::Put(const Action& action, const NfsSource& source, const VolumePlace& place) {
  RETURN_IF_ERROR(catalog_.Put({.key = action.key,
                                .uid = action.uid,
                                .resource = action.resource,
                                .volume = action.volume,
                                .replica_path = place.replica_path,
                                .server = source.server,
                                .observed_at = action.observed_at}));
  absl::MutexLock lock(&mutex_);
  ++counters_.put;
  if (std::exchange(announced_[action.key], action.uid) == action.uid) return absl::OkStatus();
  spdlog::info("{} is in DR's catalog volume={}", ToString(action.key), action.volume);
  return absl::OkStatus();
}

void ActionRunner::SetVolume(const std::string& name, Volume volume) {
  absl::MutexLock lock(&mutex_);
  known_volumes_[name] = std::move(volume);
  const auto waiting = waiting_.find(name);
  if (waiting == waiting_.end()) return;
  for (const model::ObjectKey& claim : waiting->second) queue_.Add(claim, kClaimRank);
}

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
  ASSIGN_OR_RETURN(const std::vector<model::CatalogEntry> volumes, catalog_.List(model::ObjectKind::kPersistentVolume));
  ASSIGN_OR_RETURN(const std::vector<model::CatalogEntry> claims,
                   catalog_.List(model::ObjectKind::kPersistentVolumeClaim));
  std::set<std::string> others;
  for (const model::CatalogEntry& entry : volumes) {
    const std::optional<NfsSource> source = NfsSourceOf(entry.resource);
    if (!source || !volumes_.Locate(source->server, source->path)) others.insert(entry.key.name);
  }
  // Claims first: while a PersistentVolume is in the catalog, it says whose its claim is.
  for (const model::CatalogEntry& entry : claims) {
    if (!others.contains(entry.volume)) RETURN_IF_ERROR(DeleteIfGone(entry));
  }
  for (const model::CatalogEntry& entry : volumes) {
    if (!others.contains(entry.key.name)) RETURN_IF_ERROR(DeleteIfGone(entry));
  }
  return absl::OkStatus();
}

absl::Status ActionRunner::DeleteIfGone(const model::CatalogEntry& entry) {
  if (options_.observer != nullptr && !options_.observer->MayDelete(entry)) return absl::OkStatus();
  {
    // What is put into the catalog was live before: what the list returned and isn't live now has gone.
    absl::MutexLock lock(&mutex_);
    if (live_[entry.key.kind].contains(entry.key)) return absl::OkStatus();
  }
  Action removal{.kind = Action::Kind::kDelete, .key = entry.key, .uid = entry.uid};
  RETURN_IF_ERROR(RemoveEntry(removal));
  if (entry.key.kind != model::ObjectKind::kPersistentVolume) return absl::OkStatus();
  removal.volume = entry.key.name;
  removal.source = NfsSourceOf(entry.resource).value_or(NfsSource{});
  // The entry is gone, so a later comparison wouldn't find it: from here on it is tried like any other action.
  absl::MutexLock lock(&mutex_);
  if (stopped_ || live_[entry.key.kind].contains(entry.key)) return absl::OkStatus();
  Work& work = work_[entry.key];
  MergeRemoval(work.removal, std::move(removal));
  Enqueue(entry.key, work);
  return absl::OkStatus();
}

}  // namespace understudy::primary
