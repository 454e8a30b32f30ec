// reprotect_client.h: the steps by which the replication of one volume is turned round, as drctl asks the agents for
// them (docs/promotion.md).
//
// Every step is durable when it returns OK and may be made again; the order is Reprotect's. Thread-safe. Errors are the
// agents'; UNAVAILABLE says which one can't be reached, and whether the step was done isn't known then.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "control/commands/agents_client.h"
#include "control/commands/standby_client.h"
#include "core/base/status.h"
#include "core/config/control_config.h"
#include "core/net/tls_files.h"
#include "core/wire/handover_codec.h"
#include "core/wire/standby_codec.h"

namespace understudy::control {

// host:port of the agents, by what they have of the volume.
struct ReprotectAgents {
  std::string live_dr;        // understudy-dr that was promoted: the live copy is at its host
  std::string live_primary;   // understudy-primary of that host, which is to replicate it
  std::string other_primary;  // understudy-primary of the other host, which replicated it before
  std::string other_dr;       // understudy-dr of that host, where it is to be a replica
};
// `live_at_primary`: the live copy is at the pair's primary again, after a failback. FAILED_PRECONDITION: the pair has
// no `reverse` agents.
[[nodiscard]] absl::StatusOr<ReprotectAgents> AgentsToTurn(const config::PairConfig& pair, bool live_at_primary);

struct ReprotectTask {
  std::string volume;
  uint64_t epoch = 0;      // of the live copy
  std::string live_path;   // the folder of the live copy, at its host
  std::string other_path;  // the volume's folder at the other host; empty: where its primary had it
  std::string run;         // for hooks; may be empty
};

class ReprotectClient {
 public:
  // INVALID_ARGUMENT: `tls` is unfit. Calls end with CANCELLED once `stop` is requested.
  [[nodiscard]] static absl::StatusOr<ReprotectClient> Create(const ReprotectAgents& agents, const net::TlsFiles& tls,
                                                              std::stop_token stop = {});
  ReprotectClient(ReprotectClient&&) noexcept;
  ~ReprotectClient();

  // The steps, at live_dr, other_primary, other_dr and live_primary.
  [[nodiscard]] absl::StatusOr<DrReplica> LetGo(const wire::LetGoRequest& request) const;
  [[nodiscard]] absl::StatusOr<PrimaryVolume> HandOver(const wire::HandOverRequest& request) const;
  [[nodiscard]] absl::StatusOr<DrReplica> Adopt(const wire::AdoptRequest& request, const StandbyWatch& watch) const;
  [[nodiscard]] absl::StatusOr<PrimaryVolume> TakeUp(const wire::TakeUpRequest& request) const;

  // All of them, in their order; says what it does next. The volume as live_primary has it then: what differs is still
  // to travel. Whatever ends it, it goes on when it is called again.
  [[nodiscard]] absl::StatusOr<PrimaryVolume> Reprotect(const ReprotectTask& task, const StandbyWatch& watch) const;

 private:
  struct Stubs;
  explicit ReprotectClient(std::unique_ptr<Stubs> stubs);
  std::unique_ptr<Stubs> stubs_;
};

}  // namespace understudy::control
