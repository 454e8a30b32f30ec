// forwarder.h: posts object events to those who want to hear of them, such as an ansible.eda.webhook.
//
// Each target has a durable queue of its own (forward_queue.h) and gets its events in order, at least once; event_id
// tells a repeat. What can't be delivered is tried again with growing pauses, or when the target says so (Retry-After).
// An event that the target refuses again and again (4xx) is given up, so that it doesn't hold up the others.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent-primary/forward/forward_queue.h"
#include "core/base/clock.h"
#include "core/model/object.h"
#include "core/net/http_client.h"
#include "core/net/secret_file.h"

namespace understudy::primary {

inline constexpr size_t kMaxForwardBytes = size_t{1} << 20;  // what an ansible.eda.webhook takes
inline constexpr int kMaxRefusals = 3;                       // of one event by one target

struct ForwarderTarget {
  std::string name;
  std::string url;
  std::string token_file = {};        // empty: no token
  std::string hmac_secret_file = {};  // empty: not signed
  std::string ca_file = {};           // empty: the system's authorities
};

struct ForwarderOptions {
  ForwardQueueOptions queue;
  absl::Duration retry_first = absl::Milliseconds(500);
  absl::Duration retry_longest = absl::Minutes(1);
  absl::Duration longest_retry_after = absl::Minutes(10);  // whatever a target asks for
  absl::Duration post_timeout = absl::Seconds(30);
};

enum class ForwardVerdict {
  kDelivered,
  kRefused,   // this event, by its looks
  kTryAgain,  // nothing about the event
};
// Of an HTTP status. Only 400, 413, 415 and 422 are about the event; a 404, say, is what stands in for an endpoint that
// restarts. Pure.
[[nodiscard]] ForwardVerdict JudgeStatus(int http_status);

struct ForwardTargetStatus {
  std::string name;
  uint64_t queued = 0;
  double oldest_seconds = 0;  // how long the oldest one has waited
  uint64_t delivered = 0;     // since the start, as what follows
  uint64_t refused = 0;       // given up
  uint64_t dropped = 0;       // gone because the queue was full
  uint64_t failures = 0;      // tries that failed
  std::string error;          // why the newest try failed; empty when it didn't
};

// What became of an event. `left`: targets for which it still waits.
struct ForwardResult {
  std::string event_id;
  std::string target;
  bool delivered = false;
  std::string reason;  // when it wasn't
  uint64_t left = 0;
};

class Forwarder {
 public:
  using OnResult = std::function<void(const ForwardResult&)>;

  // `path` is the queue's file. `on_result` is called from the targets' threads. Errors are store::Database's.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Forwarder>> Open(const std::string& path,
                                                                       const std::vector<ForwarderTarget>& targets,
                                                                       const ForwarderOptions& options,
                                                                       OnResult on_result,
                                                                       Clock& clock = Clock::System());
  ~Forwarder();

  // Posts until `stop` is requested, each target on a thread of its own. To be called once.
  void Run(std::stop_token stop);

  // Thread-safe. When it returns OK, the event is in every target's queue, as durably as asked for.
  [[nodiscard]] absl::Status Enqueue(const model::ObjectEvent& event, store::Durability durability);

  // Thread-safe.
  [[nodiscard]] std::vector<ForwardTargetStatus> Status() const;

 private:
  struct Target;
  struct Answer {
    ForwardVerdict verdict = ForwardVerdict::kTryAgain;
    std::string problem;
    absl::Duration retry_after;
  };

  Forwarder(std::unique_ptr<ForwardQueue> queue, const ForwarderOptions& options, OnResult on_result, Clock& clock);

  void Work(Target& target, std::stop_token stop);
  // What comes next for the target; nullopt: `stop`.
  [[nodiscard]] std::optional<ForwardQueue::Item> WaitForItem(Target& target, std::stop_token stop);
  [[nodiscard]] Answer Post(Target& target, const ForwardQueue::Item& item, std::stop_token stop) const;
  // An error: it is still in the queue.
  [[nodiscard]] absl::Status Finish(Target& target, const ForwardQueue::Item& item, const Answer& answer);
  void NoteTrouble(Target& target, const std::string& problem);

  const std::unique_ptr<ForwardQueue> queue_;
  const ForwarderOptions options_;
  const OnResult on_result_;
  Clock& clock_;
  std::vector<std::unique_ptr<Target>> targets_;  // fixed after Open

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  uint64_t enqueued_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace understudy::primary
