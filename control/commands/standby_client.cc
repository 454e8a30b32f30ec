#include "control/commands/standby_client.h"

#include <grpcpp/grpcpp.h>

#include <optional>
#include <utility>

#include "core/net/channel.h"
#include "core/net/grpc_status.h"
#include "core/net/stoppable_call.h"
#include "understudy/v1/standby.grpc.pb.h"

namespace understudy::control {
namespace {

constexpr char kDrProgram[] = "understudy-dr";

using Reader = grpc::ClientReader<v1::StandbyProgress>;

// The replica as it is in the end; nullopt after hooks alone.
absl::StatusOr<std::optional<model::ReplicaState>> Follow(Reader& reader, grpc::ClientContext& context,
                                                          const std::string& address, const StandbyWatch& watch) {
  v1::StandbyProgress message;
  std::optional<wire::StandbyProgress> last;
  bool understood = true;
  while (reader.Read(&message)) {
    absl::StatusOr<wire::StandbyProgress> parsed = wire::Parse(message);
    understood = parsed.ok();
    if (!understood) {
      context.TryCancel();
      break;
    }
    last = *std::move(parsed);
    if (last->hook.has_value()) watch.on_hook(*last->hook);
    if (!last->step.empty()) watch.on_step(last->step);
  }
  const grpc::Status status = reader.Finish();
  if (!status.ok() && status.error_code() != grpc::StatusCode::CANCELLED) {
    return net::CallError(status, kDrProgram, address);
  }
  if (understood && last && last->done) return last->replica;
  if (understood && !status.ok()) return net::CallError(status, kDrProgram, address);
  return absl::InternalError("understudy-dr ended the call without a result: does its version fit drctl's?");
}

absl::StatusOr<DrReplica> ReplicaOf(absl::StatusOr<std::optional<model::ReplicaState>> state) {
  RETURN_IF_ERROR(state.status());
  if (!state->has_value()) return absl::InternalError("understudy-dr ended the call without the replica's state");
  return ToDrReplica(**state);
}

}  // namespace

struct StandbyClient::Stub {
  std::string address;
  std::unique_ptr<v1::Standby::Stub> rpc;
  std::stop_token stop;
};

absl::StatusOr<StandbyClient> StandbyClient::Create(const std::string& address, const net::TlsFiles& tls,
                                                    std::stop_token stop) {
  ASSIGN_OR_RETURN(const auto channel, net::MakeChannel({address, tls, net::Role::kControl, net::Role::kDr}));
  return StandbyClient(std::make_unique<Stub>(Stub{address, v1::Standby::NewStub(channel), std::move(stop)}));
}

StandbyClient::StandbyClient(std::unique_ptr<Stub> stub) : stub_(std::move(stub)) {}
StandbyClient::StandbyClient(StandbyClient&&) noexcept = default;
StandbyClient::~StandbyClient() = default;

absl::StatusOr<DrReplica> StandbyClient::Promote(const wire::PromoteRequest& request, const StandbyWatch& watch) const {
  net::StoppableCall call(stub_->stop);
  const auto reader = stub_->rpc->Promote(&call.context(), wire::ToProto(request));
  return ReplicaOf(Follow(*reader, call.context(), stub_->address, watch));
}

absl::StatusOr<DrReplica> StandbyClient::Demote(const wire::DemoteRequest& request, const StandbyWatch& watch) const {
  net::StoppableCall call(stub_->stop);
  const auto reader = stub_->rpc->Demote(&call.context(), wire::ToProto(request));
  return ReplicaOf(Follow(*reader, call.context(), stub_->address, watch));
}

absl::StatusOr<DrReplica> StandbyClient::Adopt(const wire::AdoptRequest& request, const StandbyWatch& watch) const {
  net::StoppableCall call(stub_->stop);
  const auto reader = stub_->rpc->Adopt(&call.context(), wire::ToProto(request));
  return ReplicaOf(Follow(*reader, call.context(), stub_->address, watch));
}

absl::Status StandbyClient::RunHooks(const wire::RunHooksRequest& request, const StandbyWatch& watch) const {
  net::StoppableCall call(stub_->stop);
  const auto reader = stub_->rpc->RunHooks(&call.context(), wire::ToProto(request));
  return Follow(*reader, call.context(), stub_->address, watch).status();
}

}  // namespace understudy::control
