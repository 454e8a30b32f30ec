// event_pipeline.h: the one way of every object event, wherever it came in: into the log, past the rules, to the
// actions and to the forwarder.
//
//   ClusterIntake ─► OnEvent ─┐
//   WebhookIntake ─► Accept ──┴─► EventLog ─► RuleSet ─► actions, Forwarder
//
// A watch's event is told to the rules by the thread that brings it. The webhook's are told by Run, in the order in
// which they were accepted, from the log: so a restart goes on where it was.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <stop_token>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/forward/forwarder.h"
#include "agent-primary/intake/event_log.h"
#include "agent-primary/rules/action_observer.h"
#include "agent-primary/rules/event_sink.h"
#include "agent-primary/rules/rule_set.h"

namespace understudy::primary {

// Writes into the log what became of events, and lets the rules speak for deletions that no event brought. Thread-safe.
class OutcomeRecorder : public ActionObserver {
 public:
  // Both must outlive it.
  OutcomeRecorder(EventLog& log, const RuleSet& rules) : log_(log), rules_(rules) {}

  void OnResult(const std::string& event_id, ActionResult result, std::string_view reason) override;
  [[nodiscard]] bool MayDelete(const model::CatalogEntry& entry) override;
  // As Forwarder::OnResult.
  void OnForwarded(const ForwardResult& result);

 private:
  EventLog& log_;
  const RuleSet& rules_;
};

struct PipelineCounters {
  std::map<std::pair<EventSource, model::EventType>, uint64_t> events;  // without repeats
  std::map<EventSource, uint64_t> repeats;
  std::map<std::string, uint64_t> rules;  // events by the rules that held; "" for none
  uint64_t log_failures = 0;
};

// Thread-safe.
class EventPipeline : public EventSink {
 public:
  struct Options {
    // The webhook alone tells of the cluster, so what it told before a restart is acted on again. Otherwise the list
    // that follows a restart tells what is there, and an older event must not speak against it.
    bool retell = false;
  };
  struct Accepted {
    bool repeated = false;
  };

  // `forwarder` may be null: nothing is forwarded then. All must outlive the pipeline.
  EventPipeline(EventLog& log, const RuleSet& rules, EventSink& actions, Forwarder* forwarder, Options options)
      : log_(log), rules_(rules), actions_(actions), forwarder_(forwarder), options_(options) {}

  // Of a watch. A log that can't be written doesn't keep the event from the rules.
  void OnEvent(const model::ObjectEvent& event) override;
  void OnSynced(model::ObjectKind kind, const std::set<model::ObjectKey>& keys) override;

  // Of the webhook: OK when the event, or the one that it repeats, is on disk. Errors as of EventLog::Append.
  [[nodiscard]] absl::StatusOr<Accepted> Accept(const model::ObjectEvent& event);

  // Tells the rules what was accepted, until `stop` is requested. To be called once.
  void Run(std::stop_token stop);

  [[nodiscard]] PipelineCounters Counters() const;

 private:
  struct Step {
    uint64_t id = 0;       // in the log; 0: it couldn't be logged
    bool matched = false;  // forwarding is done with
    bool may_act = true;
    EventSource source = EventSource::kWatch;
  };
  struct ToQueue {
    model::ObjectEvent event;
    std::string rule;
    Step step;
  };
  void Dispatch(const model::ObjectEvent& event, const Step& step);
  void Forward(const model::ObjectEvent& event, const RuleMatch& match, const Step& step);
  void FillQueues() ABSL_EXCLUSIVE_LOCKS_REQUIRED(forward_mutex_);
  [[nodiscard]] bool QueuesWait() ABSL_LOCKS_EXCLUDED(forward_mutex_);
  void Settle(const model::ObjectEvent& event, EventOutcome outcome, std::string_view detail);
  void NoteLogged(const absl::Status& status);
  void Count(const model::ObjectEvent& event, EventSource source, bool repeated);

  EventLog& log_;
  const RuleSet& rules_;
  EventSink& actions_;
  Forwarder* const forwarder_;
  const Options options_;

  absl::Mutex forward_mutex_;
  std::deque<ToQueue> to_queue_ ABSL_GUARDED_BY(forward_mutex_);
  bool queue_works_ ABSL_GUARDED_BY(forward_mutex_) = true;

  mutable absl::Mutex mutex_;
  absl::CondVar more_to_look_for_;
  uint64_t to_look_for_ ABSL_GUARDED_BY(mutex_) = 0;  // counts what Run is woken for
  bool log_works_ ABSL_GUARDED_BY(mutex_) = true;
  PipelineCounters counters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::primary
