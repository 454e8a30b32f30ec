// event_log.h: every object event that came in, durably, with what became of it (docs/formats/events.md).
//
// One SQLite file. An event that the webhook acknowledged is on disk (synchronous=FULL); a watch's needn't be, since
// its next list tells the same again. Repeats are known by their event_id for as long as the first one is kept; what a
// watch tells again of an object's newest state, by uid and resourceVersion, for as long as the object is there. What
// is finished is bounded in rows, bytes and age, oldest first; what is pending or stands never goes, so the webhook is
// refused (RESOURCE_EXHAUSTED) when too much does.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/model/object.h"
#include "core/store/database.h"

namespace understudy::primary {

enum class EventSource { kWatch, kWebhook };
// "watch", "webhook".
[[nodiscard]] std::string_view ToString(EventSource source);

enum class EventOutcome {
  kPending,  // not done yet; the detail says why when it was tried
  kDone,
  kIgnored,
  kHeld,    // would be done, but can't be
  kFailed,  // given up
};
// "pending", "done", "ignored", "held", "failed".
[[nodiscard]] std::string_view ToString(EventOutcome outcome);

enum class Forwarding { kNone, kQueued, kDelivered, kFailed };
// "", "queued", "delivered", "failed".
[[nodiscard]] std::string_view ToString(Forwarding forwarding);

struct LoggedEvent {
  uint64_t id = 0;        // in the order in which they came in
  uint64_t revision = 0;  // rises with every change of the log
  model::ObjectEvent event;
  EventSource source = EventSource::kWatch;
  std::string rule;  // names, separated by commas; empty: none matched (yet)
  EventOutcome outcome = EventOutcome::kPending;
  std::string detail;
  Forwarding forwarding = Forwarding::kNone;
  std::string forwarding_detail;
  bool matched = false;  // the rules have been asked, and what they want forwarded is queued
};

struct EventLogOptions {
  // Nothing but the webhook tells of the cluster. The newest event of each object that still stands is then kept, and
  // told again after a restart (NextToTell), as a list would tell it.
  bool retell = false;
  uint64_t max_finished = 20'000;  // events
  uint64_t max_finished_bytes = uint64_t{128} << 20;
  absl::Duration max_age = absl::Hours(24 * 30);
  uint64_t max_pending = 20'000;  // of the webhook
  uint64_t max_pending_bytes = uint64_t{256} << 20;
  uint64_t max_standing = 200'000;  // objects, where they are retold; events of one that stands are taken all the same
  uint64_t max_standing_bytes = uint64_t{2} << 30;
};

// Thread-safe. Errors are store::Database's.
class EventLog {
 public:
  struct Appended {
    uint64_t id = 0;
    bool repeated = false;  // it was there already; nothing was written
    bool matched = false;   // see LoggedEvent
  };

  // The file is made anew when there is none; its folder exists. A watch's pending events are ignored from here on: the
  // list that follows tells them again.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<EventLog>> Open(const std::string& path,
                                                                      const EventLogOptions& options,
                                                                      Clock& clock = Clock::System());

  // Durable for the webhook when it returns OK. What the webhook tells out of order is written as ignored: a state of
  // an object after its deletion, and the deletion of an earlier object of the same name.
  [[nodiscard]] absl::StatusOr<Appended> Append(const model::ObjectEvent& event, EventSource source);

  // The rules that matched; from here on the event counts as matched.
  [[nodiscard]] absl::Status SetRule(uint64_t id, std::string_view rule, Forwarding forwarding);
  // An event that isn't there (any more) is fine.
  [[nodiscard]] absl::Status SetOutcome(std::string_view event_id, EventOutcome outcome, std::string_view detail);
  // A failure stays, whatever another target says.
  [[nodiscard]] absl::Status SetForwarding(std::string_view event_id, Forwarding forwarding, std::string_view detail);

  // The webhook's events above `after_id` that are to be told to the rules, in order: pending ones, and those that
  // stand if they are to be retold.
  [[nodiscard]] absl::StatusOr<std::vector<LoggedEvent>> NextToTell(uint64_t after_id, size_t limit);
  // The newest event when the log was opened: what comes above it came in since.
  [[nodiscard]] uint64_t opened_at() const { return opened_at_; }

  // The newest `limit` events, oldest first; `revision` is the log's at that moment. Without resources.
  struct Listing {
    std::vector<LoggedEvent> events;
    uint64_t revision = 0;
  };
  [[nodiscard]] absl::StatusOr<Listing> Newest(size_t limit);
  // What changed above `revision`, in the order of the changes; an event that changed twice comes once.
  [[nodiscard]] absl::StatusOr<Listing> ChangedSince(uint64_t revision, size_t limit);

  // Waits until the log changes past `revision`, but no longer than `timeout`. False: it didn't.
  [[nodiscard]] bool WaitForChange(uint64_t revision, absl::Duration timeout) const;

  struct Size {
    uint64_t events = 0;
    uint64_t kept = 0;  // pending or standing
    uint64_t bytes = 0;
  };
  [[nodiscard]] absl::StatusOr<Size> Measure();

 private:
  struct Sum {
    uint64_t events = 0;
    uint64_t bytes = 0;
  };
  EventLog(store::Database database, const EventLogOptions& options, Clock& clock)
      : options_(options), clock_(clock), database_(std::move(database)) {}

  [[nodiscard]] absl::Status Recover() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::StatusOr<Appended> Find(std::string_view event_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status CheckRoom(const model::ObjectEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the rules were asked about this state of the object.
  [[nodiscard]] absl::StatusOr<bool> WasTold(const std::string& uid, const std::string& version)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::StatusOr<std::string> WhyOutOfOrder(const model::ObjectEvent& event, const std::string& uid)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status Write(const model::ObjectEvent& event, EventSource source, const std::string& uid,
                                   const std::string& out_of_order) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of the events for which `condition` (SQL) holds.
  [[nodiscard]] absl::StatusOr<Sum> SumOf(std::string_view condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status Prune() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status SetDurability(store::Durability durability) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const EventLogOptions options_;
  Clock& clock_;
  uint64_t opened_at_ = 0;

  mutable absl::Mutex mutex_;
  store::Database database_ ABSL_GUARDED_BY(mutex_);
  store::Durability durability_ ABSL_GUARDED_BY(mutex_) = store::Durability::kFull;
  uint64_t revision_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t appended_since_prune_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace understudy::primary
