#include "agent-primary/service/primary_service.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "agent-primary/verify/volume_verifier.h"
#include "core/base/clock.h"
#include "core/model/path.h"
#include "core/net/grpc_status.h"
#include "core/wire/handover_codec.h"
#include "core/wire/limits.h"
#include "core/wire/verify_codec.h"
#include "understudy/v1/primary.grpc.pb.h"

namespace understudy::primary {
namespace {

constexpr size_t kEventsAtATime = 256;
constexpr absl::Duration kUpdateInterval = absl::Seconds(1);  // of a verification
// What keeps a volume from a barrier for so long ends its verification.
constexpr absl::Duration kStuckPatience = absl::Seconds(10);
// How soon a follower that hung up is noticed.
constexpr absl::Duration kHangUpInterval = absl::Seconds(1);

v1::VolumeStatus ToProto(const VolumeReport& report) {
  v1::VolumeStatus message;
  message.set_name(report.name);
  message.set_path(report.path);
  message.set_replica_path(report.replica_root);
  message.set_origin(std::string(ToString(report.origin)));
  const ReplicatorStatus& status = report.status;
  message.set_state(std::string(ToString(status.state)));
  message.set_error(status.error);
  message.set_lag_seconds(status.lag_seconds);
  message.set_sequence(status.sequence);
  message.set_published_sequence(status.published_sequence);
  message.set_epoch(status.epoch);
  message.set_strategy(status.strategy);
  message.set_strategy_reason(status.strategy_reason);
  if (status.consistency != model::Consistency::kUnknown) {
    message.set_consistency(std::string(model::ToString(status.consistency)));
  }
  message.set_dirty_paths(status.dirty_paths);
  message.set_files(status.files);
  message.set_content_bytes_sent(status.content_bytes_sent);
  message.set_commits(status.commits);
  message.set_last_acknowledged_nanoseconds(status.last_acknowledged_nanoseconds);
  message.set_complete(status.complete);
  message.set_paused_reason(status.paused_reason);
  message.set_paused_since_nanoseconds(status.paused_since_nanoseconds);
  message.set_handed_over_reason(status.handed_over_reason);
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

v1::FileStatus ToProto(const FileReport& report) {
  v1::FileStatus message;
  message.set_path(report.path);
  message.set_kind(static_cast<v1::FileKind>(report.kind));
  message.set_size(report.size);
  if (report.extents) message.set_extents(*report.extents);
  message.set_rung(report.rung);
  message.set_reason(report.reason);
  message.set_captured_at_nanoseconds(report.captured_at_nanoseconds);
  if (report.base) {
    message.mutable_base()->set_made_at_nanoseconds(report.base->made_at_nanoseconds);
    message.mutable_base()->set_size(report.base->size);
    if (report.base->extents) message.mutable_base()->set_extents(*report.base->extents);
  }
  message.set_rests_until_nanoseconds(report.rests_until_nanoseconds);
  message.set_dirty(report.dirty);
  message.set_damaged(report.damaged);
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
    added.set_held(problem.held);
  }
  for (const std::string& error : report.following_errors) message.add_following_errors(error);
  return message;
}

v1::ListEventsResponse ToProto(const LoggedEvent& logged) {
  v1::ListEventsResponse response;
  v1::ObjectEventRecord& message = *response.mutable_event();
  message.set_event_id(logged.event.event_id);
  message.set_type(std::string(model::ToString(logged.event.type)));
  message.set_kind(std::string(model::ToString(logged.event.key.kind)));
  message.set_namespace_name(logged.event.key.namespace_name);
  message.set_name(logged.event.key.name);
  message.set_observed_at_nanoseconds(absl::ToUnixNanos(logged.event.observed_at));
  message.set_source(std::string(ToString(logged.source)));
  message.set_rule(logged.rule);
  message.set_outcome(std::string(ToString(logged.outcome)));
  message.set_detail(logged.detail);
  message.set_forwarding(std::string(ToString(logged.forwarding)));
  message.set_forwarding_detail(logged.forwarding_detail);
  return response;
}

// Whether it is of no use to wait for a barrier any longer.
class StuckWatch {
 public:
  absl::Status OnReport(const ReplicatorStatus& status) {
    const bool away = status.state == ReplicationState::kConnecting;
    const absl::Duration now = Clock::System().Monotonic();
    if ((!away && status.state != ReplicationState::kError) || status.error.empty()) {
      since_.reset();
    } else if (!since_.has_value()) {
      since_ = now;
    } else if (now > *since_ + kStuckPatience) {
      return away ? absl::UnavailableError(status.error) : absl::AbortedError(status.error);
    }
    return absl::OkStatus();
  }

 private:
  std::optional<absl::Duration> since_;
};

class PrimaryService : public v1::Primary::Service {
 public:
  explicit PrimaryService(PrimaryServiceParts parts)
      : plane_(parts.plane),
        protected_(parts.protected_volumes),
        objects_(parts.objects),
        events_(parts.events),
        lister_(parts.lister),
        exports_(parts.exports),
        peer_address_(std::move(parts.peer_address)) {}

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

  grpc::Status ShowVolume(grpc::ServerContext*, const v1::ShowVolumeRequest* request,
                          v1::ShowVolumeResponse* response) override {
    const absl::StatusOr<std::vector<FileReport>> files = plane_.DescribeFiles(request->volume(), request->file());
    if (!files.ok()) return net::ToGrpcStatus(files.status());
    for (const VolumeReport& report : plane_.Report()) {
      if (report.name == request->volume()) *response->mutable_volume() = ToProto(report);
    }
    for (const FileReport& report : *files) *response->add_files() = ToProto(report);
    return grpc::Status::OK;
  }

  grpc::Status SyncVolume(grpc::ServerContext* context, const v1::SyncVolumeRequest* request,
                          grpc::ServerWriter<v1::SyncVolumeResponse>* writer) override {
    const model::SyncDemand demand{.published = request->published(), .rescan = request->rescan()};
    const absl::Status status = plane_.Sync(request->volume(), demand, [&](const VolumeReport& report) {
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

  grpc::Status VerifyVolume(grpc::ServerContext* context, const v1::VerifyVolumeRequest* request,
                            grpc::ServerWriter<v1::VerifyUpdate>* writer) override {
    const absl::StatusOr<wire::VerifyRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    absl::Status verified = absl::ResourceExhaustedError(
        fmt::format("{} verifications are under way already: wait for one of them", kMaxVerifications));
    if (++verifications_ <= kMaxVerifications) verified = Verify(*context, *parsed, *writer);
    --verifications_;
    return net::ToGrpcStatus(verified);
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

  grpc::Status ListEvents(grpc::ServerContext* context, const v1::ListEventsRequest* request,
                          grpc::ServerWriter<v1::ListEventsResponse>* writer) override {
    if (events_ == nullptr) {
      return net::ToGrpcStatus(absl::FailedPreconditionError(
          "this agent takes in no object events: its configuration has no kubernetes and no webhook section"));
    }
    const uint32_t limit = std::min(request->limit(), kMaxListedEvents);
    if (!request->follow()) return net::ToGrpcStatus(SendEvents(*context, limit, /*follow=*/false, *writer));
    absl::Status sent = absl::ResourceExhaustedError(
        fmt::format("{} callers follow the events already: end one of them", kMaxEventFollowers));
    if (++followers_ <= kMaxEventFollowers) sent = SendEvents(*context, limit, /*follow=*/true, *writer);
    --followers_;
    return net::ToGrpcStatus(sent);
  }

  grpc::Status ProtectVolume(grpc::ServerContext*, const v1::ProtectVolumeRequest* request,
                             v1::ProtectVolumeResponse* response) override {
    const absl::Status fit = CheckSource(*request);
    if (!fit.ok()) return net::ToGrpcStatus(fit);
    if (request->only_locate()) return Locate(*request, *response);
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

  grpc::Status PauseVolume(grpc::ServerContext*, const v1::PauseVolumeRequest* request,
                           v1::PauseVolumeResponse* response) override {
    return Answer(*request, *response, &DataPlane::PauseByOperator);
  }

  grpc::Status ResumeVolume(grpc::ServerContext*, const v1::ResumeVolumeRequest* request,
                            v1::ResumeVolumeResponse* response) override {
    return Answer(*request, *response, &DataPlane::ResumeByOperator);
  }

  grpc::Status HandOverVolume(grpc::ServerContext*, const v1::HandOverVolumeRequest* request,
                              v1::HandOverVolumeResponse* response) override {
    const absl::StatusOr<wire::HandOverRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    const absl::StatusOr<VolumeReport> report = plane_.HandOver(parsed->volume, parsed->epoch);
    if (!report.ok()) return net::ToGrpcStatus(report.status());
    // Whoever may write to what is a replica from here on is understudy-dr's to say.
    const absl::Status forgotten = exports_.Forget(parsed->volume);
    if (!forgotten.ok()) {
      return net::ToGrpcStatus(Annotate(forgotten, fmt::format("end the export of volume '{}'", parsed->volume)));
    }
    *response->mutable_volume() = ToProto(*report);
    return grpc::Status::OK;
  }

  grpc::Status ForgetHandOver(grpc::ServerContext*, const v1::ForgetHandOverRequest* request,
                              v1::ForgetHandOverResponse*) override {
    return net::ToGrpcStatus(plane_.ForgetHandOver(request->volume()));
  }

  grpc::Status TakeUpVolume(grpc::ServerContext*, const v1::TakeUpVolumeRequest* request,
                            v1::TakeUpVolumeResponse* response) override {
    const absl::StatusOr<wire::TakeUpRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    const absl::StatusOr<VolumeReport> report =
        plane_.TakeUp(parsed->volume, parsed->path, parsed->replica_path, parsed->epoch);
    if (!report.ok()) return net::ToGrpcStatus(report.status());
    *response->mutable_volume() = ToProto(*report);
    return grpc::Status::OK;
  }

 private:
  grpc::Status Locate(const v1::ProtectVolumeRequest& request, v1::ProtectVolumeResponse& response) const {
    const absl::StatusOr<VolumePlace> place =
        protected_.PlaceOf(request.name(), {.server = request.server(), .path = request.path()});
    if (!place.ok()) return net::ToGrpcStatus(place.status());
    response.mutable_volume()->set_name(request.name());
    response.mutable_volume()->set_path(place->path);
    response.mutable_volume()->set_replica_path(place->replica_path);
    return grpc::Status::OK;
  }

  template <class Request, class Response>
  grpc::Status Answer(const Request& request, Response& response,
                      absl::StatusOr<VolumeReport> (DataPlane::*call)(const model::VolumeName&)) {
    const absl::Status fit = model::ValidateVolumeName(request.volume());
    if (!fit.ok()) return net::ToGrpcStatus(fit);
    const absl::StatusOr<VolumeReport> report = (plane_.*call)(request.volume());
    if (!report.ok()) return net::ToGrpcStatus(report.status());
    *response.mutable_volume() = ToProto(*report);
    return grpc::Status::OK;
  }

  absl::Status SendEvents(const grpc::ServerContext& context, uint32_t limit, bool follow,
                          grpc::ServerWriter<v1::ListEventsResponse>& writer) const {
    ASSIGN_OR_RETURN(EventLog::Listing listing, events_->Newest(limit));
    while (true) {
      for (const LoggedEvent& logged : listing.events) {
        if (context.IsCancelled() || !writer.Write(ToProto(logged))) return absl::OkStatus();
      }
      if (!follow) return absl::OkStatus();
      while (!events_->WaitForChange(listing.revision, kHangUpInterval)) {
        if (context.IsCancelled()) return absl::OkStatus();
      }
      ASSIGN_OR_RETURN(listing, events_->ChangedSince(listing.revision, kEventsAtATime));
    }
  }

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

  absl::Status Verify(const grpc::ServerContext& context, const wire::VerifyRequest& request,
                      grpc::ServerWriter<v1::VerifyUpdate>& writer) const {
    std::string path;
    for (const VolumeReport& report : plane_.Report()) {
      if (report.name == request.volume) path = report.path;
    }
    if (path.empty()) return UnknownVolume(request.volume);
    wire::VerifyUpdate update;
    size_t listed = 0;
    absl::Duration next = -absl::InfiniteDuration();
    const auto send = [&](bool done) -> absl::Status {
      update.done = done;
      const bool sent = writer.Write(wire::ToProto(update));
      update.differences.clear();
      return sent ? absl::OkStatus() : absl::CancelledError("the caller hung up");
    };
    const auto on_progress = [&](const model::VerifyCounts& counts) -> absl::Status {
      if (context.IsCancelled()) return absl::CancelledError("the caller hung up");
      update.counts = counts;
      const absl::Duration now = Clock::System().Monotonic();
      if (now < next) return absl::OkStatus();
      next = now + kUpdateInterval;
      return send(/*done=*/false);
    };
    const auto barrier = [&]() -> absl::Status {
      StuckWatch watch;
      absl::Status ended;
      const absl::Status synced = plane_.Sync(request.volume, {.published = true}, [&](const VolumeReport& report) {
        ended = watch.OnReport(report.status);
        if (ended.ok()) ended = on_progress(update.counts);
        return ended.ok();
      });
      return ended.ok() ? synced : ended;
    };
    const VerifyTask task{.volume = request.volume,
                          .path = path,
                          .with_digests = request.depth == model::VerifyDepth::kDigests,
                          .barrier = barrier};
    ASSIGN_OR_RETURN(update.counts, primary::VerifyVolume(lister_, task,
                                                          {.on_progress = on_progress,
                                                           .on_difference = [&](model::Difference difference) {
                                                             if (listed == model::kMaxListedDifferences) return;
                                                             ++listed;
                                                             update.differences.push_back(std::move(difference));
                                                           }}));
    return send(/*done=*/true);
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
  ObjectControl* const objects_;
  EventLog* const events_;
  const ReplicaLister& lister_;
  exports::ExportSwitch& exports_;
  const std::string peer_address_;
  std::atomic<int> followers_{0};
  std::atomic<int> verifications_{0};
};

}  // namespace

std::unique_ptr<grpc::Service> MakePrimaryService(PrimaryServiceParts parts) {
  return std::make_unique<PrimaryService>(std::move(parts));
}

}  // namespace understudy::primary
