#include "agent-dr/service/replica_service.h"

#include <grpcpp/grpcpp.h>

#include <string>
#include <vector>

#include "core/base/log.h"
#include "core/net/grpc_status.h"
#include "core/wire/limits.h"
#include "core/wire/replication_codec.h"
#include "core/wire/trash_codec.h"
#include "understudy/v1/replica.grpc.pb.h"

namespace understudy::dr {
namespace {

class ReplicaService final : public v1::Replica::Service {
 public:
  explicit ReplicaService(CommitEngine& engine) : engine_(engine) {}

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

  grpc::Status StatEntry(grpc::ServerContext*, const v1::StatEntryRequest* request,
                         v1::StatEntryResponse* response) override {
    const absl::StatusOr<wire::EntryPlace> place = wire::Parse(*request);
    if (!place.ok()) return net::ToGrpcStatus(place.status());
    const absl::StatusOr<Replica::Entry> entry = engine_.Stat(place->volume, place->path);
    if (absl::IsNotFound(entry.status())) return grpc::Status::OK;
    if (!entry.ok()) return net::ToGrpcStatus(entry.status());
    response->set_found(true);
    response->set_regular(entry->stat.kind == model::FileKind::kRegular);
    response->set_size_bytes(response->regular() ? entry->stat.size : 0);
    response->set_sequence(entry->sequence);
    return grpc::Status::OK;
  }

  grpc::Status ListTrash(grpc::ServerContext*, const v1::ListTrashRequest* request,
                         v1::ListTrashResponse* response) override {
    const absl::StatusOr<std::string> after_id = wire::Parse(*request);
    if (!after_id.ok()) return net::ToGrpcStatus(after_id.status());
    const absl::StatusOr<std::vector<model::TrashEntry>> entries =
        engine_.trash().List(*after_id, wire::kMaxPageEntries + 1);
    if (!entries.ok()) return net::ToGrpcStatus(entries.status());
    for (const model::TrashEntry& entry : *entries) {
      if (static_cast<size_t>(response->entries_size()) == wire::kMaxPageEntries) {
        response->set_more(true);
        break;
      }
      *response->add_entries() = wire::ToProto(entry);
    }
    return grpc::Status::OK;
  }

  grpc::Status RestoreTrash(grpc::ServerContext*, const v1::RestoreTrashRequest* request,
                            v1::RestoreTrashResponse* response) override {
    const absl::StatusOr<std::string> id = wire::Parse(*request);
    if (!id.ok()) return net::ToGrpcStatus(id.status());
    const absl::StatusOr<model::ReplicaState> state = engine_.Restore(*id);
    if (!state.ok()) return net::ToGrpcStatus(state.status());
    spdlog::info("volume={} id={} restored from the trash", state->volume, *id);
    *response->mutable_replica() = wire::ToProto(*state);
    return grpc::Status::OK;
  }

  grpc::Status PurgeTrash(grpc::ServerContext* context, const v1::PurgeTrashRequest* request,
                          v1::PurgeTrashResponse*) override {
    const absl::StatusOr<std::string> id = wire::Parse(*request);
    if (!id.ok()) return net::ToGrpcStatus(id.status());
    const absl::Status purged = engine_.trash().Purge(*id);
    if (purged.ok()) spdlog::info("id={} is to be purged from the trash peer={}", *id, context->peer());
    return net::ToGrpcStatus(purged);
  }

  grpc::Status ForgetMadeHere(grpc::ServerContext*, const v1::ForgetMadeHereRequest* request,
                              v1::ForgetMadeHereResponse*) override {
    return net::ToGrpcStatus(engine_.ForgetMadeHere(request->volume()));
  }

 private:
  CommitEngine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeReplicaService(CommitEngine& engine) {
  return std::make_unique<ReplicaService>(engine);
}

}  // namespace understudy::dr
