// The part of the action runner that knows what is left to do for each object, and what becomes of it.
#include <utility>

#include "agent-primary/rules/action_runner.h"
#include "core/base/log.h"

namespace understudy::primary {
namespace {

// One removal that does what both would: with different uids, of whatever is there. It speaks for the event of the one
// that was there already only if it has none itself.
void MergeRemoval(std::optional<Action>& into, Action removal) {
  if (into && into->uid != removal.uid) removal.uid.clear();
  if (into) removal.admitted = removal.admitted && into->admitted;
  if (into && removal.event_id.empty()) removal.event_id = into->event_id;
  into = std::move(removal);
}

}  // namespace

int ActionRunner::RankOf(const Action& action) {
  if (action.kind == Action::Kind::kDelete || action.kind == Action::Kind::kPauseVolume) return kRemovalRank;
  return action.kind == Action::Kind::kSyncVolume ? kVolumeRank : kClaimRank;
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
  if (work.newest) {
    replaced.push_back(work.newest->event_id);
    action.barrier = work.newest->barrier;
  }
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
    EndWait(key);
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
    // After a restart the cluster's lists lead to what is held; without one only an event that is still pending does.
    const bool held = action.held && options_.lookup;
    Tell(action.event_id, held ? ActionResult::kHeld : ActionResult::kRetrying, MessageOf(status));
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
  bool replaced = superseded && !(work.newest && work.newest->event_id == action.event_id);  // else it only comes later
  // Not yet across is no failure, and who takes its place goes on waiting: else a volume that takes long and whose
  // object changes often would never be done.
  const bool early = absl::IsDeadlineExceeded(status);
  if (early && superseded && work.newest) work.newest->barrier = action.barrier;
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
  } else if (waits_for_.contains(key)) {
    queue_.Done(key);
  } else if (early) {
    work.problem.clear();
    queue_.Failed(key, RankOf(action));
  } else {
    if (!action.held) ++counters_.failures;
    const std::string message(MessageOf(status));
    if (!stopped && message != work.problem)
      spdlog::warn("{} isn't done, will be tried again: {}", ToString(key), message);
    work.problem = message;
    work.held = action.held;
    if (action.held) {
      queue_.Later(key, RankOf(action), options_.held_retry);
    } else {
      queue_.Failed(key, RankOf(action));
    }
  }
  return replaced;
}

void ActionRunner::BeginWait(const model::ObjectKey& key, const model::ObjectKey& data) {
  waiting_[data].insert(key);
  waits_for_[key] = data;
}

void ActionRunner::EndWait(const model::ObjectKey& key) {
  const auto waits = waits_for_.extract(key);
  if (waits.empty()) return;
  const auto waiting = waiting_.find(waits.mapped());
  waiting->second.erase(key);
  if (waiting->second.empty()) waiting_.erase(waiting);
}

}  // namespace understudy::primary
