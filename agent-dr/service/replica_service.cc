#include "agent-dr/service/replica_service.h"

#include <grpcpp/grpcpp.h>

#include "core/net/grpc_status.h"
#include "core/wire/replication_codec.h"
#include "understudy/v1/replica.grpc.pb.h"

namespace understudy::dr {
namespace {

class ReplicaService final : public v1::Replica::Service {
 public:
  explicit ReplicaService(const CommitEngine& engine) : engine_(engine) {}

  grpc::Status ListReplicas(grpc::ServerContext*, const v1::ListReplicasRequest* request,
                            v1::ListReplicasResponse* response) override {
    const absl::StatusOr<std::string> volume = wire::Parse(*request);
    if (!volume.ok()) return net::ToGrpcStatus(volume.status());
    if (volume->empty()) {
      for (const model::ReplicaState& state : engine_.List()) *response->add_replicas() = wire::ToProto(state);
      return grpc::Status::OK;
    }
    const absl::StatusOr<model::ReplicaState> state = engine_.State(*volume);
    if (!state.ok()) return net::ToGrpcStatus(state.status());
    *response->add_replicas() = wire::ToProto(*state);
    return grpc::Status::OK;
  }

 private:
  const CommitEngine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeReplicaService(const CommitEngine& engine) {
  return std::make_unique<ReplicaService>(engine);
}

}  // namespace understudy::dr
