// agent_call.h: one call to an agent, which a stop request ends as a deadline does. Only for the clients of this
// folder: they alone talk gRPC.
#pragma once

#include <grpcpp/client_context.h>

#include <functional>
#include <stop_token>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace understudy::control {

// Of one thread; the call, and its reader if it has one, end before it goes. After `timeout` the call ends with
// DEADLINE_EXCEEDED, soon after `stop` is requested with CANCELLED: the agent is told, and ends what it can end.
class AgentCall {
 public:
  explicit AgentCall(const std::stop_token& stop, absl::Duration timeout = absl::InfiniteDuration())
      : cancel_(stop, [this] { context_.TryCancel(); }) {
    if (timeout != absl::InfiniteDuration()) context_.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  }
  AgentCall(const AgentCall&) = delete;
  AgentCall& operator=(const AgentCall&) = delete;

  [[nodiscard]] grpc::ClientContext& context() { return context_; }

 private:
  grpc::ClientContext context_;
  const std::stop_callback<std::function<void()>> cancel_;  // goes first: it uses the context
};

}  // namespace understudy::control
