// stoppable_call.h: one gRPC call of a client, which a stop request ends as a deadline does.
#pragma once

#include <grpcpp/client_context.h>

#include <functional>
#include <stop_token>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace understudy::net {

// Of one thread; the call, and its reader if it has one, end before it goes. After `timeout` the call ends with
// DEADLINE_EXCEEDED, soon after `stop` is requested with CANCELLED: the server is told, and ends what it can end.
class StoppableCall {
 public:
  explicit StoppableCall(const std::stop_token& stop, absl::Duration timeout = absl::InfiniteDuration())
      : cancel_(stop, [this] { context_.TryCancel(); }) {
    if (timeout != absl::InfiniteDuration()) context_.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  }
  StoppableCall(const StoppableCall&) = delete;
  StoppableCall& operator=(const StoppableCall&) = delete;

  [[nodiscard]] grpc::ClientContext& context() { return context_; }

 private:
  grpc::ClientContext context_;
  const std::stop_callback<std::function<void()>> cancel_;  // goes first: it uses the context
};

}  // namespace understudy::net
