#include "agent-primary/intake/event_pipeline.h"

#include <fmt/format.h>

#include "core/base/log.h"
#include "core/base/wait.h"

namespace understudy::primary {
namespace {

constexpr size_t kToldAtATime = 64;
constexpr absl::Duration kLogRetry = absl::Seconds(1);
constexpr absl::Duration kQueueRetry = absl::Seconds(5);
constexpr size_t kMaxToQueue = 1000;  // events that the forwarder's queues can't take now

EventOutcome OutcomeOf(ActionResult result) {
  switch (result) {
    case ActionResult::kDone:
      return EventOutcome::kDone;
    case ActionResult::kIgnored:
      return EventOutcome::kIgnored;
    case ActionResult::kHeld:
      return EventOutcome::kHeld;
    case ActionResult::kRetrying:
      return EventOutcome::kPending;
  }
  AbortOnBrokenInvariant("known ActionResult", __FILE__, __LINE__);
}

// Losing one costs a repetition after a restart, or a line of `drctl events tail`.
void Note(const absl::Status& status) {
  if (!status.ok()) spdlog::debug("what became of an event isn't logged: {}", MessageOf(status));
}

}  // namespace

void OutcomeRecorder::OnResult(const std::string& event_id, ActionResult result, std::string_view reason) {
  Note(log_.SetOutcome(event_id, OutcomeOf(result), reason));
}

bool OutcomeRecorder::MayDelete(const model::CatalogEntry& entry) {
  const model::ObjectEvent deletion{.type = model::EventType::kDeleted,
                                    .key = entry.key,
                                    .resource = entry.resource,
                                    .event_id = "",
                                    .observed_at = entry.observed_at};
  return rules_.Match(deletion).act;
}

void OutcomeRecorder::OnForwarded(const ForwardResult& result) {
  if (!result.delivered) {
    return Note(
        log_.SetForwarding(result.event_id, Forwarding::kFailed, fmt::format("{}: {}", result.target, result.reason)));
  }
  if (result.left == 0) Note(log_.SetForwarding(result.event_id, Forwarding::kDelivered, ""));
}

void EventPipeline::OnEvent(const model::ObjectEvent& event) {
  const absl::StatusOr<EventLog::Appended> appended = log_.Append(event, EventSource::kWatch);
  NoteLogged(appended.status());
  Count(event, EventSource::kWatch, appended.ok() && appended->repeated);
  Step step{.source = EventSource::kWatch};
  if (appended.ok()) {
    step.id = appended->id;
    step.matched = appended->matched;
  }
  Dispatch(event, step);
}

void EventPipeline::OnSynced(model::ObjectKind kind, const std::set<model::ObjectKey>& keys) {
  actions_.OnSynced(kind, keys);
}

absl::StatusOr<EventPipeline::Accepted> EventPipeline::Accept(const model::ObjectEvent& event) {
  const absl::StatusOr<EventLog::Appended> appended = log_.Append(event, EventSource::kWebhook);
  if (!absl::IsResourceExhausted(appended.status())) NoteLogged(appended.status());
  RETURN_IF_ERROR(appended.status());
  Count(event, EventSource::kWebhook, appended->repeated);
  absl::MutexLock lock(&mutex_);
  ++to_look_for_;
  more_to_look_for_.SignalAll();
  return Accepted{.repeated = appended->repeated};
}

void EventPipeline::Run(std::stop_token stop) {
  const std::stop_callback wake(stop, [this] {
    absl::MutexLock lock(&mutex_);
    more_to_look_for_.SignalAll();
  });
  uint64_t told = 0;
  while (!stop.stop_requested()) {
    uint64_t seen = 0;
    {
      absl::MutexLock lock(&mutex_);
      seen = to_look_for_;
    }
    const absl::StatusOr<std::vector<LoggedEvent>> next = log_.NextToTell(told, kToldAtATime);
    if (!next.ok()) {
      NoteLogged(next.status());
      WaitUnlessStopped(stop, kLogRetry);
      continue;
    }
    for (const LoggedEvent& logged : *next) {
      if (stop.stop_requested()) return;
      Dispatch(logged.event, {.id = logged.id,
                              .matched = logged.matched,
                              .may_act = options_.retell || logged.id > log_.opened_at(),
                              .source = EventSource::kWebhook});
      told = logged.id;
    }
    const absl::Duration longest = QueuesWait() ? kQueueRetry : absl::InfiniteDuration();
    absl::MutexLock lock(&mutex_);
    if (next->empty() && to_look_for_ == seen && !stop.stop_requested()) {
      more_to_look_for_.WaitWithTimeout(&mutex_, longest);
    }
  }
}

void EventPipeline::Dispatch(const model::ObjectEvent& event, const Step& step) {
  const RuleMatch match = rules_.Match(event);
  if (!step.matched) {
    Forward(event, match, step);
    absl::MutexLock lock(&mutex_);
    ++counters_.rules[match.names];
  }
  if (match.act && step.may_act) return actions_.OnEvent(event);
  if (match.act)
    return Settle(event, EventOutcome::kIgnored, "the agent started anew: the cluster's list tells it again");
  if (match.forward) return Settle(event, EventOutcome::kDone, "");
  Settle(event, EventOutcome::kIgnored, match.names.empty() ? "no rule holds for it" : "the rule has nothing done");
}

// First into the queues, then marked as matched: a crash between the two forwards it twice, never not at all.
void EventPipeline::Forward(const model::ObjectEvent& event, const RuleMatch& match, const Step& step) {
  if (!match.forward || forwarder_ == nullptr) {
    if (step.id != 0) Note(log_.SetRule(step.id, match.names, Forwarding::kNone));
    return;
  }
  {
    absl::MutexLock lock(&forward_mutex_);
    to_queue_.push_back({event, match.names, step});
    FillQueues();
    if (to_queue_.empty()) return;
  }
  absl::MutexLock lock(&mutex_);
  ++to_look_for_;  // Run tries again
  more_to_look_for_.SignalAll();
}

// In order, so the first that can't be queued holds up the others. What is left is tried again with the next event, by
// Run, and after a restart, since it isn't marked.
void EventPipeline::FillQueues() {
  while (!to_queue_.empty()) {
    const ToQueue& first = to_queue_.front();
    const bool webhook = first.step.source == EventSource::kWebhook;
    const absl::Status queued =
        forwarder_->Enqueue(first.event, webhook ? store::Durability::kFull : store::Durability::kNormal);
    if (queue_works_ && !queued.ok()) {
      spdlog::error("{} can't be queued to be forwarded: {}", ToString(first.event.key), MessageOf(queued));
    }
    queue_works_ = queued.ok();
    if (!queued.ok() && to_queue_.size() <= kMaxToQueue) return;
    if (first.step.id != 0) {
      Note(log_.SetRule(first.step.id, first.rule, queued.ok() ? Forwarding::kQueued : Forwarding::kFailed));
    }
    if (!queued.ok()) Note(log_.SetForwarding(first.event.event_id, Forwarding::kFailed, MessageOf(queued)));
    to_queue_.pop_front();
  }
}

bool EventPipeline::QueuesWait() {
  absl::MutexLock lock(&forward_mutex_);
  FillQueues();
  return !to_queue_.empty();
}

void EventPipeline::Settle(const model::ObjectEvent& event, EventOutcome outcome, std::string_view detail) {
  Note(log_.SetOutcome(event.event_id, outcome, detail));
}

void EventPipeline::NoteLogged(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (!status.ok()) {
    ++counters_.log_failures;
    if (log_works_) spdlog::error("events can't be logged: {}", MessageOf(status));
  }
  log_works_ = status.ok();
}

void EventPipeline::Count(const model::ObjectEvent& event, EventSource source, bool repeated) {
  absl::MutexLock lock(&mutex_);
  if (repeated) {
    ++counters_.repeats[source];
  } else {
    ++counters_.events[{source, event.type}];
  }
}

PipelineCounters EventPipeline::Counters() const {
  absl::MutexLock lock(&mutex_);
  return counters_;
}

}  // namespace understudy::primary
