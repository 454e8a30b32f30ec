#include "agent-dr/service/standby_service.h"

#include <grpcpp/grpcpp.h>

#include <string>

#include "core/base/log.h"
#include "core/net/grpc_status.h"
#include "core/wire/replication_codec.h"
#include "core/wire/standby_codec.h"
#include "understudy/v1/standby.grpc.pb.h"

namespace understudy::dr {
namespace {

using Writer = grpc::ServerWriter<v1::StandbyProgress>;

class StandbyService final : public v1::Standby::Service {
 public:
  explicit StandbyService(Promoter& promoter) : promoter_(promoter) {}

  grpc::Status Promote(grpc::ServerContext* context, const v1::PromoteRequest* request, Writer* writer) override {
    const absl::StatusOr<wire::PromoteRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    spdlog::info("volume={} is to be promoted peer={}", parsed->volume, context->peer());
    return End(promoter_.Promote(*parsed, CallerOf(*context, *writer)), *writer);
  }

  grpc::Status Demote(grpc::ServerContext* context, const v1::DemoteRequest* request, Writer* writer) override {
    const absl::StatusOr<wire::DemoteRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    spdlog::info("volume={} is to be demoted peer={}", parsed->volume, context->peer());
    return End(promoter_.Demote(*parsed, CallerOf(*context, *writer)), *writer);
  }

  grpc::Status Adopt(grpc::ServerContext* context, const v1::AdoptRequest* request, Writer* writer) override {
    const absl::StatusOr<wire::AdoptRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    spdlog::info("volume={} is to become a replica of epoch {} peer={}", parsed->volume.name, parsed->volume.epoch,
                 context->peer());
    return End(promoter_.Adopt(*parsed, CallerOf(*context, *writer)), *writer);
  }

  grpc::Status LetGo(grpc::ServerContext*, const v1::LetGoRequest* request, v1::LetGoResponse* response) override {
    const absl::StatusOr<wire::LetGoRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    const absl::StatusOr<model::ReplicaState> state = promoter_.LetGo(*parsed);
    if (!state.ok()) return net::ToGrpcStatus(state.status());
    *response->mutable_replica() = wire::ToProto(*state);
    return grpc::Status::OK;
  }

  grpc::Status RunHooks(grpc::ServerContext* context, const v1::RunHooksRequest* request, Writer* writer) override {
    const absl::StatusOr<wire::RunHooksRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    const absl::Status ran = promoter_.RunHooks(*parsed, CallerOf(*context, *writer));
    if (!ran.ok()) return net::ToGrpcStatus(ran);
    writer->Write(wire::ToProto(wire::StandbyProgress{.step = "", .done = true}));
    return grpc::Status::OK;
  }

 private:
  // Whether a message still reaches the caller is of no account: `gone` tells.
  static StandbyCaller CallerOf(const grpc::ServerContext& context, Writer& writer) {
    return {
        .on_step = [&writer](const std::string& step) { writer.Write(wire::ToProto({.step = step})); },
        .on_hook =
            [&writer](const model::HookResult& result) { writer.Write(wire::ToProto({.step = "", .hook = result})); },
        .gone = [&context] { return context.IsCancelled(); }};
  }

  static grpc::Status End(const absl::StatusOr<model::ReplicaState>& state, Writer& writer) {
    if (!state.ok()) {
      spdlog::error("{}", MessageOf(state.status()));
      // To a caller, UNAVAILABLE means that nobody answered.
      if (absl::IsUnavailable(state.status())) return net::ToGrpcStatus(absl::AbortedError(state.status().message()));
      return net::ToGrpcStatus(state.status());
    }
    writer.Write(wire::ToProto(wire::StandbyProgress{.step = "", .done = true, .replica = *state}));
    return grpc::Status::OK;
  }

  Promoter& promoter_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeStandbyService(Promoter& promoter) {
  return std::make_unique<StandbyService>(promoter);
}

}  // namespace understudy::dr
