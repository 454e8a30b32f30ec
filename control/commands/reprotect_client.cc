#include "control/commands/reprotect_client.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <utility>

#include "core/base/log.h"
#include "core/net/channel.h"
#include "core/net/grpc_status.h"
#include "core/net/stoppable_call.h"
#include "core/wire/replication_codec.h"
#include "understudy/v1/primary.grpc.pb.h"
#include "understudy/v1/standby.grpc.pb.h"

namespace understudy::control {
namespace {

constexpr char kPrimaryProgram[] = "understudy-primary";
constexpr char kDrProgram[] = "understudy-dr";
// A commit that is under way has to end, an NFS server to let go of an export, a large volume to be watched.
constexpr absl::Duration kStepTimeout = absl::Minutes(2);

}  // namespace

absl::StatusOr<ReprotectAgents> AgentsToTurn(const config::PairConfig& pair, bool live_at_primary) {
  if (!pair.reverse) {
    return absl::FailedPreconditionError(fmt::format(
        "pair {}: the configuration doesn't say which agents carry replication the other way: add `reverse: "
        "{{primary: …, dr: …}}` with understudy-primary of DR's host and understudy-dr of the primary's",
        pair.name));
  }
  if (live_at_primary) return ReprotectAgents{pair.reverse->dr, pair.primary, pair.reverse->primary, pair.dr};
  return ReprotectAgents{pair.dr, pair.reverse->primary, pair.primary, pair.reverse->dr};
}

struct ReprotectClient::Stubs {
  ReprotectAgents agents;
  std::unique_ptr<v1::Standby::Stub> live_dr;
  std::unique_ptr<v1::Primary::Stub> live_primary;
  PrimaryClient other_primary;
  StandbyClient other_dr;
  std::stop_token stop;
};

absl::StatusOr<ReprotectClient> ReprotectClient::Create(const ReprotectAgents& agents, const net::TlsFiles& tls,
                                                        std::stop_token stop) {
  const auto channel = [&](const std::string& address, net::Role role) {
    return net::MakeChannel({address, tls, net::Role::kControl, role});
  };
  ASSIGN_OR_RETURN(const auto live_dr, channel(agents.live_dr, net::Role::kDr));
  ASSIGN_OR_RETURN(const auto live_primary, channel(agents.live_primary, net::Role::kPrimary));
  ASSIGN_OR_RETURN(PrimaryClient other_primary, PrimaryClient::Create(agents.other_primary, tls, stop));
  ASSIGN_OR_RETURN(StandbyClient other_dr, StandbyClient::Create(agents.other_dr, tls, stop));
  return ReprotectClient(
      std::make_unique<Stubs>(Stubs{agents, v1::Standby::NewStub(live_dr), v1::Primary::NewStub(live_primary),
                                    std::move(other_primary), std::move(other_dr), std::move(stop)}));
}

ReprotectClient::ReprotectClient(std::unique_ptr<Stubs> stubs) : stubs_(std::move(stubs)) {}
ReprotectClient::ReprotectClient(ReprotectClient&&) noexcept = default;
ReprotectClient::~ReprotectClient() = default;

absl::StatusOr<DrReplica> ReprotectClient::LetGo(const wire::LetGoRequest& request) const {
  net::StoppableCall call(stubs_->stop, kStepTimeout);
  v1::LetGoResponse response;
  const grpc::Status status = stubs_->live_dr->LetGo(&call.context(), wire::ToProto(request), &response);
  if (!status.ok()) return net::CallError(status, kDrProgram, stubs_->agents.live_dr);
  ASSIGN_OR_RETURN(const model::ReplicaState state, wire::Parse(response.replica()));
  return ToDrReplica(state);
}

absl::StatusOr<PrimaryVolume> ReprotectClient::HandOver(const wire::HandOverRequest& request) const {
  return stubs_->other_primary.HandOver(request);
}

absl::StatusOr<DrReplica> ReprotectClient::Adopt(const wire::AdoptRequest& request, const StandbyWatch& watch) const {
  return stubs_->other_dr.Adopt(request, watch);
}

absl::StatusOr<PrimaryVolume> ReprotectClient::TakeUp(const wire::TakeUpRequest& request) const {
  net::StoppableCall call(stubs_->stop, kStepTimeout);
  v1::TakeUpVolumeResponse response;
  const grpc::Status status = stubs_->live_primary->TakeUpVolume(&call.context(), wire::ToProto(request), &response);
  if (!status.ok()) return net::CallError(status, kPrimaryProgram, stubs_->agents.live_primary);
  return ToPrimaryVolume(response.volume());
}

absl::StatusOr<PrimaryVolume> ReprotectClient::Reprotect(const ReprotectTask& task, const StandbyWatch& watch) const {
  const ReprotectAgents& agents = stubs_->agents;
  watch.on_step(fmt::format("understudy-dr at {}: the live copy stays live (epoch {})", agents.live_dr, task.epoch));
  RETURN_IF_ERROR(LetGo({.volume = task.volume, .epoch = task.epoch}).status());
  watch.on_step(fmt::format("understudy-primary at {}: hands the volume over", agents.other_primary));
  ASSIGN_OR_RETURN(const PrimaryVolume handed_over, HandOver({.volume = task.volume, .epoch = task.epoch}));
  const std::string other_path = handed_over.path.empty() ? task.other_path : handed_over.path;
  if (other_path.empty()) {
    return absl::FailedPreconditionError(fmt::format(
        "volume {}: neither agent of the other host knows where it was there: list it in the configuration of "
        "understudy-primary at {}",
        task.volume, agents.other_primary));
  }
  watch.on_step(fmt::format("understudy-dr at {}: '{}' becomes a replica", agents.other_dr, Printable(other_path)));
  RETURN_IF_ERROR(Adopt({.volume = {task.volume, other_path, task.epoch}, .run = task.run}, watch).status());
  watch.on_step(fmt::format("understudy-primary at {}: takes the volume up", agents.live_primary));
  return TakeUp({.volume = task.volume, .path = task.live_path, .replica_path = other_path, .epoch = task.epoch});
}

}  // namespace understudy::control
