#include "agent-primary/forward/forwarder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "core/base/backoff.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/kube/event_json.h"

namespace understudy::primary {
namespace {

constexpr size_t kMaxAnswerBytes = 64 * 1024;
constexpr size_t kMaxShownAnswerBytes = 200;
constexpr absl::Duration kQueueRetry = absl::Seconds(5);

absl::Duration RetryAfterOf(const net::HttpResponse& response) {
  const auto header = response.headers.find("retry-after");
  int64_t seconds = 0;
  if (header == response.headers.end() || !absl::SimpleAtoi(header->second, &seconds) || seconds < 0) {
    return absl::ZeroDuration();
  }
  return absl::Seconds(seconds);
}

net::HttpTls TlsOf(const ForwarderTarget& target) {
  net::HttpTls tls;
  tls.ca_file = target.ca_file;
  return tls;
}

}  // namespace

ForwardVerdict JudgeStatus(int http_status) {
  constexpr std::array kOfTheEvent = {400, 413, 415, 422};
  if (http_status >= 200 && http_status < 300) return ForwardVerdict::kDelivered;
  const bool refused = std::find(kOfTheEvent.begin(), kOfTheEvent.end(), http_status) != kOfTheEvent.end();
  return refused ? ForwardVerdict::kRefused : ForwardVerdict::kTryAgain;
}

struct Forwarder::Target {
  explicit Target(const ForwarderTarget& described) : target(described), client(TlsOf(target)) {
    if (!target.token_file.empty()) token.emplace(target.token_file);
    if (!target.hmac_secret_file.empty()) hmac_secret.emplace(target.hmac_secret_file);
    status.name = target.name;
  }
  const ForwarderTarget target;
  net::HttpClient client;
  std::optional<net::SecretFile> token;
  std::optional<net::SecretFile> hmac_secret;

  absl::Mutex mutex;
  ForwardTargetStatus status ABSL_GUARDED_BY(mutex);
};

absl::StatusOr<std::unique_ptr<Forwarder>> Forwarder::Open(const std::string& path,
                                                           const std::vector<ForwarderTarget>& targets,
                                                           const ForwarderOptions& options, OnResult on_result,
                                                           Clock& clock) {
  std::vector<std::string> names;
  for (const ForwarderTarget& target : targets) names.push_back(target.name);
  ASSIGN_OR_RETURN(std::unique_ptr<ForwardQueue> queue, ForwardQueue::Open(path, names, options.queue));
  std::unique_ptr<Forwarder> forwarder(new Forwarder(std::move(queue), options, std::move(on_result), clock));
  for (const ForwarderTarget& target : targets) forwarder->targets_.push_back(std::make_unique<Target>(target));
  return forwarder;
}

Forwarder::Forwarder(std::unique_ptr<ForwardQueue> queue, const ForwarderOptions& options, OnResult on_result,
                     Clock& clock)
    : queue_(std::move(queue)), options_(options), on_result_(std::move(on_result)), clock_(clock) {}

Forwarder::~Forwarder() = default;

void Forwarder::Run(std::stop_token stop) {
  const std::stop_callback wake(stop, [this] {
    absl::MutexLock lock(&mutex_);
    changed_.SignalAll();
  });
  std::vector<std::jthread> threads;
  for (const std::unique_ptr<Target>& target : targets_) {
    threads.emplace_back([this, &target, stop] { Work(*target, stop); });
  }
}

absl::Status Forwarder::Enqueue(const model::ObjectEvent& event, store::Durability durability) {
  ASSIGN_OR_RETURN(const std::vector<ForwardQueue::Dropped> dropped,
                   queue_->Add(event.event_id, kube::EventJson(event, kMaxForwardBytes), clock_.Now(), durability));
  for (const ForwardQueue::Dropped& gone : dropped) {
    for (const std::unique_ptr<Target>& target : targets_) {
      if (target->target.name != gone.target) continue;
      absl::MutexLock lock(&target->mutex);
      if (target->status.dropped++ == 0) {
        spdlog::warn("forward target {}: its queue is full: the oldest events go", Printable(gone.target));
      }
    }
    on_result_({.event_id = gone.event_id, .target = gone.target, .delivered = false, .reason = "the queue was full"});
  }
  absl::MutexLock lock(&mutex_);
  ++enqueued_;
  changed_.SignalAll();
  return absl::OkStatus();
}

std::vector<ForwardTargetStatus> Forwarder::Status() const {
  std::vector<ForwardTargetStatus> all;
  for (const std::unique_ptr<Target>& target : targets_) {
    {
      absl::MutexLock lock(&target->mutex);
      all.push_back(target->status);
    }
    const absl::StatusOr<ForwardQueue::Size> size = queue_->Measure(target->target.name);
    if (!size.ok()) continue;
    all.back().queued = size->events;
    if (size->oldest) all.back().oldest_seconds = std::max(0.0, absl::ToDoubleSeconds(clock_.Now() - *size->oldest));
  }
  return all;
}

void Forwarder::Work(Target& target, std::stop_token stop) {
  Backoff backoff(options_.retry_first, options_.retry_longest);
  uint64_t refused_id = 0;  // the event that was refused last, and how often
  int refusals = 0;
  while (const std::optional<ForwardQueue::Item> item = WaitForItem(target, stop)) {
    const Answer answer = Post(target, *item, stop);
    if (stop.stop_requested()) return;
    if (answer.verdict == ForwardVerdict::kRefused) {
      refusals = refused_id == item->id ? refusals + 1 : 1;
      refused_id = item->id;
    }
    if (answer.verdict != ForwardVerdict::kDelivered) NoteTrouble(target, answer.problem);
    const bool given_up = answer.verdict == ForwardVerdict::kRefused && refusals >= kMaxRefusals;
    if (answer.verdict == ForwardVerdict::kDelivered || given_up) {
      backoff.Reset();
      // Posting it again and again wouldn't mend the queue.
      if (!Finish(target, *item, answer).ok()) WaitUnlessStopped(stop, kQueueRetry);
      continue;
    }
    WaitUnlessStopped(stop, std::max(backoff.Next(), std::min(answer.retry_after, options_.longest_retry_after)));
  }
}

std::optional<ForwardQueue::Item> Forwarder::WaitForItem(Target& target, std::stop_token stop) {
  while (!stop.stop_requested()) {
    uint64_t seen = 0;
    {
      absl::MutexLock lock(&mutex_);
      seen = enqueued_;
    }
    absl::StatusOr<std::optional<ForwardQueue::Item>> first = queue_->First(target.target.name);
    if (!first.ok()) {
      NoteTrouble(target, std::string(MessageOf(first.status())));
      WaitUnlessStopped(stop, kQueueRetry);
      continue;
    }
    if (first->has_value()) return *std::move(first);
    absl::MutexLock lock(&mutex_);
    while (enqueued_ == seen && !stop.stop_requested()) changed_.Wait(&mutex_);
  }
  return std::nullopt;
}

Forwarder::Answer Forwarder::Post(Target& target, const ForwardQueue::Item& item, std::stop_token stop) const {
  const auto trouble = [](const absl::Status& status) {
    return Answer{.verdict = ForwardVerdict::kTryAgain, .problem = std::string(MessageOf(status)), .retry_after = {}};
  };
  net::HttpRequest request;
  request.method = "POST";
  request.url = target.target.url;
  request.headers.emplace_back("Content-Type", "application/json");
  request.total_timeout = options_.post_timeout;
  request.max_response_bytes = kMaxAnswerBytes;
  if (target.token) {
    absl::StatusOr<std::string> token = target.token->Read();
    if (!token.ok()) return trouble(token.status());
    request.bearer_token = *std::move(token);
  }
  if (target.hmac_secret) {
    const absl::StatusOr<std::string> secret = target.hmac_secret->Read();
    if (!secret.ok()) return trouble(secret.status());
    request.headers.emplace_back("x-hub-signature-256", net::HubSignature(*secret, item.body));
  }
  request.body = item.body;
  const absl::StatusOr<net::HttpResponse> response = target.client.Send(request, std::move(stop));
  if (!response.ok()) return trouble(response.status());
  return {.verdict = JudgeStatus(response->status),
          .problem = fmt::format("{} answered {}: {}", target.target.url, response->status,
                                 Printable(std::string_view(response->body).substr(0, kMaxShownAnswerBytes))),
          .retry_after = RetryAfterOf(*response)};
}

absl::Status Forwarder::Finish(Target& target, const ForwardQueue::Item& item, const Answer& answer) {
  const bool delivered = answer.verdict == ForwardVerdict::kDelivered;
  const absl::StatusOr<uint64_t> left = queue_->Remove(item);
  if (!left.ok()) {
    NoteTrouble(target, std::string(MessageOf(left.status())));
    return left.status();
  }
  {
    absl::MutexLock lock(&target.mutex);
    ++(delivered ? target.status.delivered : target.status.refused);
    if (delivered) target.status.error.clear();
  }
  if (!delivered) {
    spdlog::warn("forward target {}: event {} is given up: {}", Printable(target.target.name), Printable(item.event_id),
                 answer.problem);
  }
  on_result_({.event_id = item.event_id,
              .target = target.target.name,
              .delivered = delivered,
              .reason = delivered ? "" : answer.problem,
              .left = *left});
  return absl::OkStatus();
}

void Forwarder::NoteTrouble(Target& target, const std::string& problem) {
  absl::MutexLock lock(&target.mutex);
  ++target.status.failures;
  if (target.status.error == problem) return;
  target.status.error = problem;
  spdlog::warn("forward target {}: {}", Printable(target.target.name), problem);
}

}  // namespace understudy::primary
