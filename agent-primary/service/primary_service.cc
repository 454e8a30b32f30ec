#include "agent-primary/service/primary_service.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <utility>

#include "core/model/path.h"
#include "core/net/grpc_status.h"
#include "core/wire/limits.h"
#include "understudy/v1/primary.grpc.pb.h"

namespace understudy::primary {
namespace {

v1::VolumeStatus ToProto(const VolumeReport& report) {
  v1::VolumeStatus message;
  message.set_name(report.name);
  message.set_path(report.path);
  message.set_replica_path(report.replica_root);
  message.set_origin(report.origin == VolumeOrigin::kConfig ? "config" : "kubernetes");
  const ReplicatorStatus& status = report.status;
  message.set_state(std::string(ToString(status.state)));
  message.set_error(status.error);
  message.set_lag_seconds(status.lag_seconds);
  message.set_sequence(status.sequence);
  message.set_published_sequence(status.published_sequence);
  message.set_epoch(status.epoch);
  message.set_strategy(status.strategy);
  message.set_dirty_paths(status.dirty_paths);
  message.set_files(status.files);
  message.set_content_bytes_sent(status.content_bytes_sent);
  message.set_commits(status.commits);
  message.set_last_acknowledged_nanoseconds(status.last_acknowledged_nanoseconds);
  message.set_complete(status.complete);
  if (status.guard.has_value()) {
    v1::Guard& guard = *message.mutable_guard();
    guard.set_kind(status.guard->kind);
    guard.set_reason(status.guard->reason);
    guard.set_entries_gone(status.guard->entries_gone);
    guard.set_entries_before(status.guard->entries_before);
    guard.set_since_nanoseconds(status.guard->since_nanoseconds);
  }
  return message;
}

class PrimaryService : public v1::Primary::Service {
 public:
  PrimaryService(DataPlane& plane, ProtectedVolumes& protected_volumes, std::string peer_address)
      : plane_(plane), protected_(protected_volumes), peer_address_(std::move(peer_address)) {}

  grpc::Status ListVolumes(grpc::ServerContext*, const v1::ListVolumesRequest* request,
                           v1::ListVolumesResponse* response) override {
    for (const VolumeReport& report : plane_.Report()) {
      if (request->volume().empty() || request->volume() == report.name) *response->add_volumes() = ToProto(report);
    }
    if (!request->volume().empty() && response->volumes().empty()) {
      return net::ToGrpcStatus(UnknownVolume(request->volume()));
    }
    const absl::Status connection = plane_.Connection();
    response->set_peer_connected(connection.ok());
    response->set_peer_error(std::string(MessageOf(connection)));
    response->set_peer_address(peer_address_);
    return grpc::Status::OK;
  }

  grpc::Status SyncVolume(grpc::ServerContext* context, const v1::SyncVolumeRequest* request,
                          grpc::ServerWriter<v1::SyncVolumeResponse>* writer) override {
    const absl::Status status = plane_.Sync(request->volume(), request->published(), [&](const VolumeReport& report) {
      v1::SyncVolumeResponse progress;
      *progress.mutable_volume() = ToProto(report);
      return !context->IsCancelled() && writer->Write(progress);
    });
    if (!status.ok()) return net::ToGrpcStatus(status);
    v1::SyncVolumeResponse done;
    done.set_done(true);
    for (const VolumeReport& report : plane_.Report()) {
      if (report.name == request->volume()) *done.mutable_volume() = ToProto(report);
    }
    writer->Write(done);
    return grpc::Status::OK;
  }

  grpc::Status ApproveGuard(grpc::ServerContext*, const v1::ApproveGuardRequest* request,
                            v1::ApproveGuardResponse* response) override {
    const absl::Status fit = CheckApproval(*request);
    if (!fit.ok()) return net::ToGrpcStatus(fit);
    const absl::StatusOr<VolumeReport> report =
        plane_.ApproveGuard(request->volume(), request->kind(), request->entries_gone());
    if (!report.ok()) return net::ToGrpcStatus(report.status());
    *response->mutable_volume() = ToProto(*report);
    return grpc::Status::OK;
  }

  grpc::Status ProtectVolume(grpc::ServerContext*, const v1::ProtectVolumeRequest* request,
                             v1::ProtectVolumeResponse* response) override {
    const absl::Status fit = CheckSource(*request);
    if (!fit.ok()) return net::ToGrpcStatus(fit);
    const absl::Status registered =
        protected_.Protect(request->name(), {.server = request->server(), .path = request->path()});
    if (!registered.ok()) return net::ToGrpcStatus(registered);
    for (const VolumeReport& report : plane_.Report()) {
      if (report.name == request->name()) *response->mutable_volume() = ToProto(report);
    }
    return grpc::Status::OK;
  }

  grpc::Status ReleaseVolume(grpc::ServerContext*, const v1::ReleaseVolumeRequest* request,
                             v1::ReleaseVolumeResponse*) override {
    const absl::Status fit = CheckSource(*request);
    if (!fit.ok()) return net::ToGrpcStatus(fit);
    return net::ToGrpcStatus(
        protected_.Release(request->name(), {.server = request->server(), .path = request->path()}));
  }

 private:
  // Of a ProtectVolumeRequest or a ReleaseVolumeRequest.
  template <class Request>
  static absl::Status CheckSource(const Request& request) {
    RETURN_IF_ERROR(model::ValidateVolumeName(request.name()));
    const bool server_fits = !request.server().empty() && request.server().size() <= wire::kMaxServerBytes;
    const bool path_fits = request.path().starts_with('/') && request.path().size() <= wire::kMaxReplicaRootBytes &&
                           model::ValidatePath(request.path().substr(1)).ok();
    if (server_fits && path_fits) return absl::OkStatus();
    return absl::InvalidArgumentError("a volume's source is the name of an NFS server and an absolute path on it");
  }

  static absl::Status CheckApproval(const v1::ApproveGuardRequest& request) {
    RETURN_IF_ERROR(model::ValidateVolumeName(request.volume()));
    if (request.kind() == kDeletionGuard || request.kind() == kRootGuard) return absl::OkStatus();
    return absl::InvalidArgumentError("there is no such guard: it is deletion or root");
  }

  static absl::Status UnknownVolume(const std::string& name) {
    return absl::NotFoundError(fmt::format(
        "there is no volume '{}' on this host; `drctl volumes list` shows those there are", name.substr(0, 253)));
  }

  DataPlane& plane_;
  ProtectedVolumes& protected_;
  const std::string peer_address_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakePrimaryService(DataPlane& plane, ProtectedVolumes& protected_volumes,
                                                  std::string peer_address) {
  return std::make_unique<PrimaryService>(plane, protected_volumes, std::move(peer_address));
}

}  // namespace understudy::primary
