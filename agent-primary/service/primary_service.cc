#include "agent-primary/service/primary_service.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <utility>

#include "core/net/grpc_status.h"
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

v1::Guard ToProto(const ObjectGuardReport& report) {
  v1::Guard guard;
  guard.set_kind(report.kind);
  guard.set_reason(report.reason);
  guard.set_entries_gone(report.gone);
  guard.set_entries_before(report.before);
  guard.set_since_nanoseconds(report.since_nanoseconds);
  return guard;
}

v1::ObjectsStatus ToProto(const ObjectsReport& report) {
  v1::ObjectsStatus message;
  message.set_pending(report.actions.pending);
  message.set_waiting(report.actions.waiting);
  message.set_reconciled(report.actions.reconciled);
  for (const ObjectProblem& problem : report.actions.problems) {
    v1::ObjectProblem& added = *message.add_problems();
    added.set_kind(std::string(model::ToString(problem.key.kind)));
    added.set_namespace_name(problem.key.namespace_name);
    added.set_name(problem.key.name);
    added.set_message(problem.message);
  }
  for (const std::string& error : report.following_errors) message.add_following_errors(error);
  return message;
}

class PrimaryService : public v1::Primary::Service {
 public:
  PrimaryService(DataPlane& plane, std::string peer_address, ObjectControl* objects)
      : plane_(plane), peer_address_(std::move(peer_address)), objects_(objects) {}

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
    if (objects_ == nullptr) return grpc::Status::OK;
    const ObjectsReport objects = objects_->Report();
    *response->mutable_objects() = ToProto(objects);
    for (const ObjectGuardReport& guard : objects.guards) *response->add_object_guards() = ToProto(guard);
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
    if (request->volume().empty() && objects_ != nullptr) {
      return net::ToGrpcStatus(objects_->ApproveGuard(request->kind(), request->entries_gone()));
    }
    const absl::Status fit = CheckApproval(*request);
    if (!fit.ok()) return net::ToGrpcStatus(fit);
    const absl::StatusOr<VolumeReport> report =
        plane_.ApproveGuard(request->volume(), request->kind(), request->entries_gone());
    if (!report.ok()) return net::ToGrpcStatus(report.status());
    *response->mutable_volume() = ToProto(*report);
    return grpc::Status::OK;
  }

 private:
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
  const std::string peer_address_;
  ObjectControl* const objects_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakePrimaryService(DataPlane& plane, std::string peer_address, ObjectControl* objects) {
  return std::make_unique<PrimaryService>(plane, std::move(peer_address), objects);
}

}  // namespace understudy::primary
