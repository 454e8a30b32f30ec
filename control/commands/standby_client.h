// standby_client.h: promotion and demotion of volumes, as drctl asks understudy-dr for them.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "control/commands/agents_client.h"
#include "core/base/status.h"
#include "core/model/hook.h"
#include "core/net/tls_files.h"
#include "core/wire/standby_codec.h"

namespace understudy::control {

// What is told while a call runs.
struct StandbyWatch {
  std::function<void(const std::string& step)> on_step;
  std::function<void(const model::HookResult&)> on_hook;
};

// One agent; thread-safe. Calls take as long as the hooks do. Errors are the agent's: FAILED_PRECONDITION: not in this
// state, or another call is under way; ABORTED: a hook failed; UNAVAILABLE says which agent, and what to check: whether
// the call was done isn't known then, and it may be made again.
class StandbyClient {
 public:
  // INVALID_ARGUMENT: `tls` is unfit. Calls end with CANCELLED once `stop` is requested.
  [[nodiscard]] static absl::StatusOr<StandbyClient> Create(const std::string& address, const net::TlsFiles& tls,
                                                            std::stop_token stop = {});
  StandbyClient(StandbyClient&&) noexcept;
  ~StandbyClient();

  [[nodiscard]] absl::StatusOr<DrReplica> Promote(const wire::PromoteRequest& request, const StandbyWatch& watch) const;
  [[nodiscard]] absl::StatusOr<DrReplica> Demote(const wire::DemoteRequest& request, const StandbyWatch& watch) const;
  [[nodiscard]] absl::StatusOr<DrReplica> Adopt(const wire::AdoptRequest& request, const StandbyWatch& watch) const;
  [[nodiscard]] absl::Status RunHooks(const wire::RunHooksRequest& request, const StandbyWatch& watch) const;

 private:
  struct Stub;
  explicit StandbyClient(std::unique_ptr<Stub> stub);
  std::unique_ptr<Stub> stub_;
};

}  // namespace understudy::control
