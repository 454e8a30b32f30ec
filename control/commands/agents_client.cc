#include "control/commands/agents_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "core/net/channel.h"
#include "core/net/grpc_status.h"
#include "core/net/stoppable_call.h"
#include "core/wire/trash_codec.h"
#include "understudy/v1/primary.grpc.pb.h"
#include "understudy/v1/replica.grpc.pb.h"

namespace understudy::control {
namespace {

GuardView FromWire(const v1::Guard& wire) {
  return {wire.kind(), wire.reason(), wire.entries_gone(), wire.entries_before(),
          absl::FromUnixNanos(wire.since_nanoseconds())};
}

PrimaryVolume FromWire(const v1::VolumeStatus& wire) {
  PrimaryVolume volume;
  volume.name = wire.name();
  volume.path = wire.path();
  volume.replica_path = wire.replica_path();
  volume.state = wire.state();
  volume.error = wire.error();
  volume.lag_seconds = wire.lag_seconds();
  volume.sequence = wire.sequence();
  volume.published_sequence = wire.published_sequence();
  volume.epoch = wire.epoch();
  volume.strategy = wire.strategy();
  volume.strategy_reason = wire.strategy_reason();
  volume.consistency = wire.consistency();
  volume.dirty_paths = wire.dirty_paths();
  volume.files = wire.files();
  volume.content_bytes_sent = wire.content_bytes_sent();
  volume.commits = wire.commits();
  if (wire.last_acknowledged_nanoseconds() > 0) {
    volume.last_acknowledged = absl::FromUnixNanos(wire.last_acknowledged_nanoseconds());
  }
  volume.origin = wire.origin();
  volume.complete = wire.complete();
  if (wire.has_guard()) volume.guard = FromWire(wire.guard());
  volume.paused_reason = wire.paused_reason();
  volume.handed_over_reason = wire.handed_over_reason();
  if (wire.paused_since_nanoseconds() > 0) volume.paused_since = absl::FromUnixNanos(wire.paused_since_nanoseconds());
  return volume;
}

ObjectsView FromWire(const v1::ObjectsStatus& wire) {
  ObjectsView view{.pending = wire.pending(),
                   .waiting = wire.waiting(),
                   .reconciled = wire.reconciled(),
                   .problems = {},
                   .following_errors = {wire.following_errors().begin(), wire.following_errors().end()}};
  for (const v1::ObjectProblem& problem : wire.problems()) {
    view.problems.push_back(
        {problem.kind(), problem.namespace_name(), problem.name(), problem.message(), problem.held()});
  }
  return view;
}

EventView FromWire(const v1::ObjectEventRecord& wire) {
  return {.event_id = wire.event_id(),
          .type = wire.type(),
          .kind = wire.kind(),
          .namespace_name = wire.namespace_name(),
          .name = wire.name(),
          .observed_at = absl::FromUnixNanos(wire.observed_at_nanoseconds()),
          .source = wire.source(),
          .rule = wire.rule(),
          .outcome = wire.outcome(),
          .detail = wire.detail(),
          .forwarding = wire.forwarding(),
          .forwarding_detail = wire.forwarding_detail()};
}

std::optional<absl::Time> TimeOf(int64_t nanoseconds) {
  return nanoseconds > 0 ? std::optional(absl::FromUnixNanos(nanoseconds)) : std::nullopt;
}

DrReplica FromWire(const v1::ReplicaState& wire) {
  return {.name = wire.volume(),
          .state = wire.state(),
          .root = wire.root(),
          .epoch = wire.epoch(),
          .sequence = wire.sequence(),
          .published_sequence = wire.published_sequence(),
          .complete = wire.complete(),
          .demoted_whole = wire.awaits_primary() && wire.demoted_whole(),
          .captured_at = TimeOf(wire.captured_at_nanoseconds()),
          .midst_of_capture = wire.complete() && wire.midst_of_capture(),
          .whole_sequence = wire.whole_sequence(),
          .whole_captured_at = TimeOf(wire.whole_captured_at_nanoseconds()),
          .consistency = model::ConsistencyOf(wire.consistency()),
          .whole_consistency = model::ConsistencyOf(wire.whole_consistency()),
          .state_since = TimeOf(wire.state_since_nanoseconds()),
          .held = wire.held(),
          .hooks_due = wire.hooks_due(),
          .reprotected = wire.reprotected(),
          .adopted_epoch = wire.adopted_epoch()};
}

// Of a restore, which syncs its filesystem.
constexpr absl::Duration kRestoreTimeout = absl::Minutes(2);
// A commit that is under way has to end.
constexpr absl::Duration kHandOverTimeout = absl::Minutes(2);
// The primary waits for the volume's lane up to 30 s; also when it is paused.
constexpr absl::Duration kApprovalTimeout = absl::Seconds(40);
// Watching a large volume's folders, and moving one to the trash, take their time.
constexpr absl::Duration kRegistrationTimeout = absl::Minutes(2);
constexpr char kPrimaryProgram[] = "understudy-primary";
constexpr char kDrProgram[] = "understudy-dr";

}  // namespace

PrimaryVolume ToPrimaryVolume(const v1::VolumeStatus& status) {
  return FromWire(status);
}

CopyState CopyOf(const DrReplica& replica) {
  const bool demoting = replica.state == model::ToString(model::VolumeState::kDemoting);
  return {.standby = replica.state == model::ToString(model::VolumeState::kStandby),
          .adopting = demoting && replica.adopted_epoch == replica.epoch,
          .reprotected = replica.reprotected,
          .epoch = replica.epoch};
}

bool IsTurned(const DrReplica& replica) {
  const VolumeWay way = WayOf({.at_dr = CopyOf(replica)});
  return way.live_at_dr && way.reversed;
}

DrReplica ToDrReplica(const model::ReplicaState& state) {
  const model::WholeState whole = state.newest_whole.value_or(model::WholeState());
  return {.name = state.volume,
          .state = std::string(model::ToString(state.state)),
          .root = state.root,
          .epoch = state.epoch,
          .sequence = state.sequence,
          .published_sequence = state.published_sequence,
          .complete = state.complete,
          .demoted_whole = state.demoted_whole,
          .captured_at = TimeOf(state.captured_at_nanoseconds),
          .midst_of_capture = state.midst_of_capture,
          .whole_sequence = whole.sequence,
          .whole_captured_at = TimeOf(whole.captured_at_nanoseconds),
          .consistency = state.consistency,
          .whole_consistency = whole.consistency,
          .state_since = TimeOf(state.state_since_nanoseconds),
          .held = state.held,
          .hooks_due = state.hooks_due,
          .reprotected = state.reprotected,
          .adopted_epoch = state.adopted_epoch};
}

struct PrimaryClient::Stub {
  std::string address;
  std::unique_ptr<v1::Primary::Stub> rpc;
  std::stop_token stop;

  absl::Status Approve(const std::string& volume, const GuardView& guard, v1::ApproveGuardResponse& response) const {
    net::StoppableCall call(stop, kApprovalTimeout);
    v1::ApproveGuardRequest request;
    request.set_volume(volume);
    request.set_kind(guard.kind);
    request.set_entries_gone(guard.entries_gone);
    const grpc::Status status = rpc->ApproveGuard(&call.context(), request, &response);
    return status.ok() ? absl::OkStatus() : net::CallError(status, kPrimaryProgram, address);
  }
};

absl::StatusOr<PrimaryClient> PrimaryClient::Create(const std::string& address, const net::TlsFiles& tls,
                                                    std::stop_token stop) {
  ASSIGN_OR_RETURN(const auto channel, net::MakeChannel({address, tls, net::Role::kControl, net::Role::kPrimary}));
  return PrimaryClient(std::make_unique<Stub>(Stub{address, v1::Primary::NewStub(channel), std::move(stop)}));
}

PrimaryClient::PrimaryClient(std::unique_ptr<Stub> stub) : stub_(std::move(stub)) {}
PrimaryClient::PrimaryClient(PrimaryClient&&) noexcept = default;
PrimaryClient::~PrimaryClient() = default;

absl::StatusOr<PrimaryVolumes> PrimaryClient::ListVolumes() const {
  net::StoppableCall call(stub_->stop, kQueryTimeout);
  v1::ListVolumesResponse response;
  const grpc::Status status = stub_->rpc->ListVolumes(&call.context(), {}, &response);
  if (!status.ok()) return net::CallError(status, kPrimaryProgram, stub_->address);
  PrimaryVolumes result;
  for (const v1::VolumeStatus& volume : response.volumes()) result.volumes.push_back(FromWire(volume));
  result.peer_connected = response.peer_connected();
  result.peer_error = response.peer_error();
  result.peer_address = response.peer_address();
  for (const v1::Guard& guard : response.object_guards()) result.object_guards.push_back(FromWire(guard));
  if (response.has_objects()) result.objects = FromWire(response.objects());
  return result;
}

absl::StatusOr<PrimaryVolume> PrimaryClient::ApproveGuard(const std::string& volume, const GuardView& guard) const {
  v1::ApproveGuardResponse response;
  RETURN_IF_ERROR(stub_->Approve(volume, guard, response));
  return FromWire(response.volume());
}

absl::Status PrimaryClient::ApproveObjectGuard(const GuardView& guard) const {
  v1::ApproveGuardResponse response;
  return stub_->Approve("", guard, response);
}

absl::StatusOr<PrimaryVolume> PrimaryClient::Sync(const std::string& volume, model::SyncDemand demand,
                                                  absl::Duration timeout,
                                                  const std::function<void(const PrimaryVolume&)>& on_progress,
                                                  std::stop_token stop) const {
  net::StoppableCall call(stop, timeout);
  v1::SyncVolumeRequest request;
  request.set_volume(volume);
  request.set_published(demand.published);
  request.set_rescan(demand.rescan);
  const auto reader = stub_->rpc->SyncVolume(&call.context(), request);
  v1::SyncVolumeResponse response;
  std::optional<PrimaryVolume> done;
  while (reader->Read(&response)) {
    if (response.done()) {
      done = FromWire(response.volume());
    } else {
      on_progress(FromWire(response.volume()));
    }
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return net::CallError(status, kPrimaryProgram, stub_->address);
  if (!done)
    return absl::InternalError("understudy-primary ended the call without a result: does its version fit drctl's?");
  return *done;
}

absl::StatusOr<PrimaryVolume> PrimaryClient::HandOver(const wire::HandOverRequest& request) const {
  net::StoppableCall call(stub_->stop, kHandOverTimeout);
  v1::HandOverVolumeResponse response;
  const grpc::Status status = stub_->rpc->HandOverVolume(&call.context(), wire::ToProto(request), &response);
  if (!status.ok()) return net::CallError(status, kPrimaryProgram, stub_->address);
  return ToPrimaryVolume(response.volume());
}

absl::StatusOr<PrimaryVolume> PrimaryClient::Pause(const std::string& volume) const {
  net::StoppableCall call(stub_->stop, kApprovalTimeout);
  v1::PauseVolumeRequest request;
  request.set_volume(volume);
  v1::PauseVolumeResponse response;
  const grpc::Status status = stub_->rpc->PauseVolume(&call.context(), request, &response);
  if (!status.ok()) return net::CallError(status, kPrimaryProgram, stub_->address);
  return FromWire(response.volume());
}

absl::StatusOr<PrimaryVolume> PrimaryClient::Resume(const std::string& volume) const {
  net::StoppableCall call(stub_->stop, kQueryTimeout);
  v1::ResumeVolumeRequest request;
  request.set_volume(volume);
  v1::ResumeVolumeResponse response;
  const grpc::Status status = stub_->rpc->ResumeVolume(&call.context(), request, &response);
  if (!status.ok()) return net::CallError(status, kPrimaryProgram, stub_->address);
  return FromWire(response.volume());
}

absl::Status PrimaryClient::ListEvents(uint32_t limit, bool follow,
                                       const std::function<void(const EventView&)>& on_event) const {
  net::StoppableCall call(stub_->stop, follow ? absl::InfiniteDuration() : kQueryTimeout);
  v1::ListEventsRequest request;
  request.set_limit(limit);
  request.set_follow(follow);
  const auto reader = stub_->rpc->ListEvents(&call.context(), request);
  v1::ListEventsResponse response;
  while (reader->Read(&response)) on_event(FromWire(response.event()));
  const grpc::Status status = reader->Finish();
  // It is also how an agent that stops ends the calls that are under way.
  if (status.error_code() == grpc::StatusCode::CANCELLED) return absl::OkStatus();
  return status.ok() ? absl::OkStatus() : net::CallError(status, kPrimaryProgram, stub_->address);
}

absl::StatusOr<PrimaryVolume> PrimaryClient::Register(const std::string& volume, const kube::NfsSource& source,
                                                      bool only_locate) const {
  net::StoppableCall call(stub_->stop, kRegistrationTimeout);
  v1::ProtectVolumeRequest request;
  request.set_name(volume);
  request.set_server(source.server);
  request.set_path(source.path);
  request.set_only_locate(only_locate);
  v1::ProtectVolumeResponse response;
  const grpc::Status status = stub_->rpc->ProtectVolume(&call.context(), request, &response);
  if (!status.ok()) return net::CallError(status, kPrimaryProgram, stub_->address);
  return FromWire(response.volume());
}

absl::StatusOr<PrimaryVolume> PrimaryClient::Protect(const std::string& volume, const kube::NfsSource& source) const {
  return Register(volume, source, /*only_locate=*/false);
}

absl::StatusOr<PrimaryVolume> PrimaryClient::Locate(const std::string& volume, const kube::NfsSource& source) const {
  return Register(volume, source, /*only_locate=*/true);
}

absl::Status PrimaryClient::ForgetHandOver(const std::string& volume) const {
  net::StoppableCall call(stub_->stop, kRegistrationTimeout);
  v1::ForgetHandOverRequest request;
  request.set_volume(volume);
  v1::ForgetHandOverResponse response;
  const grpc::Status status = stub_->rpc->ForgetHandOver(&call.context(), request, &response);
  return status.ok() ? absl::OkStatus() : net::CallError(status, kPrimaryProgram, stub_->address);
}

absl::Status PrimaryClient::Release(const std::string& volume, const kube::NfsSource& source) const {
  net::StoppableCall call(stub_->stop, kRegistrationTimeout);
  v1::ReleaseVolumeRequest request;
  request.set_name(volume);
  request.set_server(source.server);
  request.set_path(source.path);
  v1::ReleaseVolumeResponse response;
  const grpc::Status status = stub_->rpc->ReleaseVolume(&call.context(), request, &response);
  return status.ok() ? absl::OkStatus() : net::CallError(status, kPrimaryProgram, stub_->address);
}

struct ReplicaClient::Stub {
  std::string address;
  std::unique_ptr<v1::Replica::Stub> rpc;
  std::stop_token stop;
};

absl::StatusOr<ReplicaClient> ReplicaClient::Create(const std::string& address, const net::TlsFiles& tls,
                                                    std::stop_token stop) {
  ASSIGN_OR_RETURN(const auto channel, net::MakeChannel({address, tls, net::Role::kControl, net::Role::kDr}));
  return ReplicaClient(std::make_unique<Stub>(Stub{address, v1::Replica::NewStub(channel), std::move(stop)}));
}

ReplicaClient::ReplicaClient(std::unique_ptr<Stub> stub) : stub_(std::move(stub)) {}
ReplicaClient::ReplicaClient(ReplicaClient&&) noexcept = default;
ReplicaClient::~ReplicaClient() = default;

absl::StatusOr<std::vector<DrReplica>> ReplicaClient::ListReplicas() const {
  net::StoppableCall call(stub_->stop, kQueryTimeout);
  v1::ListReplicasResponse response;
  const grpc::Status status = stub_->rpc->ListReplicas(&call.context(), {}, &response);
  if (!status.ok()) return net::CallError(status, kDrProgram, stub_->address);
  std::vector<DrReplica> replicas;
  for (const v1::ReplicaState& replica : response.replicas()) replicas.push_back(FromWire(replica));
  return replicas;
}

absl::StatusOr<std::vector<model::TrashEntry>> ReplicaClient::ListTrash() const {
  std::vector<model::TrashEntry> entries;
  v1::ListTrashRequest request;
  while (true) {
    net::StoppableCall call(stub_->stop, kQueryTimeout);
    v1::ListTrashResponse response;
    const grpc::Status status = stub_->rpc->ListTrash(&call.context(), request, &response);
    if (!status.ok()) return net::CallError(status, kDrProgram, stub_->address);
    ASSIGN_OR_RETURN(wire::TrashPage page, wire::Parse(response));
    for (model::TrashEntry& entry : page.entries) entries.push_back(std::move(entry));
    if (!page.more) return entries;
    if (entries.back().id <= request.after_id())
      return absl::InternalError("understudy-dr lists its trash in a circle");
    request.set_after_id(entries.back().id);
  }
}

absl::StatusOr<DrReplica> ReplicaClient::RestoreTrash(const std::string& id) const {
  net::StoppableCall call(stub_->stop, kRestoreTimeout);
  v1::RestoreTrashRequest request;
  request.set_id(id);
  v1::RestoreTrashResponse response;
  const grpc::Status status = stub_->rpc->RestoreTrash(&call.context(), request, &response);
  if (!status.ok()) return net::CallError(status, kDrProgram, stub_->address);
  return FromWire(response.replica());
}

absl::StatusOr<std::optional<uint64_t>> ReplicaClient::FileSize(const std::string& volume,
                                                                const std::string& path) const {
  net::StoppableCall call(stub_->stop, kQueryTimeout);
  v1::StatEntryRequest request;
  request.set_volume(volume);
  request.set_path(path);
  v1::StatEntryResponse response;
  const grpc::Status status = stub_->rpc->StatEntry(&call.context(), request, &response);
  if (!status.ok()) return net::CallError(status, kDrProgram, stub_->address);
  if (!response.found() || !response.regular()) return std::nullopt;
  return response.size_bytes();
}

absl::Status ReplicaClient::PurgeTrash(const std::string& id) const {
  net::StoppableCall call(stub_->stop, kQueryTimeout);
  v1::PurgeTrashRequest request;
  request.set_id(id);
  v1::PurgeTrashResponse response;
  const grpc::Status status = stub_->rpc->PurgeTrash(&call.context(), request, &response);
  return status.ok() ? absl::OkStatus() : net::CallError(status, kDrProgram, stub_->address);
}

absl::Status ReplicaClient::ForgetMadeHere(const std::string& volume) const {
  net::StoppableCall call(stub_->stop, kRegistrationTimeout);
  v1::ForgetMadeHereRequest request;
  request.set_volume(volume);
  v1::ForgetMadeHereResponse response;
  const grpc::Status status = stub_->rpc->ForgetMadeHere(&call.context(), request, &response);
  return status.ok() ? absl::OkStatus() : net::CallError(status, kDrProgram, stub_->address);
}

}  // namespace understudy::control
