#include "agent-primary/rules/action_runner.h"

#include <thread>
#include <utility>

#include "core/base/log.h"

namespace understudy::primary {

ActionRunner::ActionRunner(VolumeActions& volumes, model::CatalogWriter& catalog, ActionRunnerOptions options,
                           Clock& clock)
    : volumes_(volumes),
      catalog_(catalog),
      options_(std::move(options)),
      clock_(clock),
      queue_(options_.retry_first, options_.retry_longest, clock) {}

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
  Action action = Decide(event);
  if (options_.keeper != nullptr && event.type != model::EventType::kDeleted) {
    options_.keeper->NoteLive(event.key, action.uid);
  }
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
      if (action.never_replicated && PredecessorOf(action, std::nullopt)) {
        // As one of another pair: what DR has of the name isn't that any more.
        action.kind = Action::Kind::kSyncVolume;
        return Submit(std::move(action));
      }
      if (action.never_replicated) {
        SetVolume(DataKeyOf(action), {.source = {}, .place = std::nullopt, .owner_uid = action.owner_uid});
      }
      return Tell(action.event_id, ActionResult::kIgnored, action.reason);
    case Action::Kind::kPauseVolume:
      // At once: the data may be gone before a worker comes to it.
      if (const absl::Status paused = PauseVolume(action); !paused.ok()) spdlog::debug("{}", MessageOf(paused));
      return Submit(std::move(action));
    case Action::Kind::kDelete:
      PauseVolumeOfClaim(action);
      return Submit(std::move(action));
    default:
      Submit(std::move(action));
  }
}

void ActionRunner::OnSynced(model::ObjectKind kind, const std::set<model::ObjectKey>& keys) {
  absl::MutexLock lock(&mutex_);
  live_[kind] = keys;
  synced_.insert(kind);
  ++lists_[kind];
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
  for (const auto& [kind, doubt] : doubts_) {
    if (doubt.again) status.doubts.push_back(doubt.reason);
  }
  for (const auto& [key, work] : work_) {
    if (status.problems.size() >= kMaxProblems) return status;
    if (!work.problem.empty()) status.problems.push_back({.key = key, .message = work.problem, .held = work.held});
  }
  return status;
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

}  // namespace understudy::primary
