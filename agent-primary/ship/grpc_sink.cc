#include "agent-primary/ship/grpc_sink.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "agent-primary/ship/range_batch.h"
#include "core/base/log.h"
#include "core/daemon/version.h"
#include "core/net/grpc_status.h"
#include "core/wire/limits.h"
#include "core/wire/messages.h"
#include "core/wire/replication_codec.h"
#include "core/wire/verify_codec.h"
#include "understudy/v1/replication.grpc.pb.h"

namespace understudy::primary {
namespace {

constexpr std::chrono::seconds kHandshakeTimeout(10);
constexpr std::chrono::seconds kSignatureTimeout(60);

wire::Handshake OurHandshake() {
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  return {wire::kProtocolVersion, std::string(daemon::SoftwareVersion()), host};
}

}  // namespace

struct GrpcReplicaSink::Stream {
  std::unique_ptr<v1::Replication::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ReplicateRequest, v1::ReplicateResponse>> calls;
};

// Of each volume, what was staged and isn't written yet.
struct GrpcReplicaSink::Batches {
  std::map<model::VolumeName, RangeBatch> of;
};

absl::StatusOr<std::unique_ptr<GrpcReplicaSink>> GrpcReplicaSink::Connect(std::shared_ptr<grpc::Channel> channel,
                                                                          const std::string& address,
                                                                          Listener listener) {
  auto stream = std::make_unique<Stream>();
  stream->stub = v1::Replication::NewStub(channel);
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kHandshakeTimeout);
    const v1::HandshakeRequest request = wire::ToRequest(OurHandshake());
    v1::HandshakeResponse response;
    const grpc::Status status = stream->stub->Handshake(&context, request, &response);
    if (!status.ok()) return net::CallError(status, "understudy-dr", address);
    ASSIGN_OR_RETURN(const wire::Handshake theirs, wire::Parse(response));
    RETURN_IF_ERROR(
        wire::CheckVersions(OurHandshake(), "understudy-primary", theirs, fmt::format("understudy-dr at {}", address)));
  }
  stream->calls = stream->stub->Replicate(&stream->context);
  std::unique_ptr<GrpcReplicaSink> sink(new GrpcReplicaSink(std::move(stream), address, std::move(listener)));
  sink->reader_ = std::thread([raw = sink.get()] { raw->ReadAnswers(); });
  return sink;
}

GrpcReplicaSink::GrpcReplicaSink(std::unique_ptr<Stream> stream, std::string address, Listener listener)
    : stream_(std::move(stream)),
      address_(std::move(address)),
      listener_(std::move(listener)),
      batches_(std::make_unique<Batches>()) {}

GrpcReplicaSink::~GrpcReplicaSink() {
  stream_->context.TryCancel();
  reader_.join();
}

absl::Status GrpcReplicaSink::health() const {
  absl::MutexLock lock(&mutex_);
  return ended_;
}

void GrpcReplicaSink::ReadAnswers() {
  v1::ReplicateResponse response;
  absl::Status bad_answer;
  while (bad_answer.ok() && stream_->calls->Read(&response)) {
    if (response.has_published()) {
      {
        absl::MutexLock lock(&mutex_);
        sessions_[response.published().volume()].published = response.published().sequence();
      }
      // Not under the mutex: the listener locks its volume, and volumes ask this sink while they hold their lock.
      listener_.on_published(response.published().volume(), response.published().sequence());
      continue;
    }
    if (response.has_damaged()) {
      const absl::StatusOr<wire::Damaged> damaged = wire::Parse(response.damaged());
      if (!damaged.ok()) {
        bad_answer = damaged.status();
        break;
      }
      DamageListener listener;
      {
        absl::MutexLock lock(&mutex_);
        listener = on_damaged_;
      }
      if (listener != nullptr) listener(damaged->volume, damaged->file);  // not under the mutex, as above
      continue;
    }
    absl::MutexLock lock(&mutex_);
    if (response.has_opened()) {
      absl::StatusOr<model::ReplicaState> opened = wire::Parse(response.opened());
      if (!opened.ok()) {
        bad_answer = opened.status();
        break;
      }
      VolumeSession& session = sessions_[opened->volume];
      if (session.session != response.opened().session()) continue;
      session.published = opened->published_sequence;
      session.opened = *std::move(opened);
    } else if (response.has_acknowledged()) {
      VolumeSession& session = sessions_[response.acknowledged().volume()];
      session.acknowledged = response.acknowledged().sequence();
    } else if (response.has_resumed()) {
      absl::StatusOr<wire::StageResumed> resumed = wire::Parse(response.resumed());
      if (!resumed.ok()) {
        bad_answer = resumed.status();
        break;
      }
      VolumeSession& session = sessions_[resumed->volume];
      if (session.session == response.resumed().session()) session.resumed = *std::move(resumed);
    } else if (response.has_refused()) {
      const absl::StatusOr<wire::Refusal> refused = wire::Parse(response.refused());
      if (!refused.ok()) {
        bad_answer = refused.status();
        break;
      }
      VolumeSession& session = sessions_[response.refused().volume()];
      if (session.session == response.refused().session()) session.refused = refused->status;
    }
  }
  if (!bad_answer.ok()) stream_->context.TryCancel();
  const grpc::Status finished = stream_->calls->Finish();
  {
    absl::MutexLock lock(&mutex_);
    if (!bad_answer.ok()) {
      ended_ = Annotate(bad_answer, "understudy-dr answered what can't be understood");
    } else if (finished.ok()) {
      ended_ = absl::UnavailableError(fmt::format("understudy-dr at {} ended the stream", address_));
    } else {
      ended_ = net::CallError(finished, "understudy-dr", address_);
    }
  }
  listener_.on_broken();
}

absl::Status GrpcReplicaSink::Broken() const {
  // The caller connects again whatever ended it, and is told by the next handshake if that is of no use.
  return absl::UnavailableError(std::string(MessageOf(ended_)));
}

absl::StatusOr<model::Epoch> GrpcReplicaSink::CheckSession(const model::VolumeName& volume) const {
  absl::MutexLock lock(&mutex_);
  if (!ended_.ok()) return Broken();
  const auto session = sessions_.find(volume);
  UNDERSTUDY_CHECK(session != sessions_.end());  // opened before
  RETURN_IF_ERROR(session->second.refused);
  UNDERSTUDY_CHECK(session->second.opened.has_value());  // else it was refused
  return session->second.opened->epoch;
}

absl::Status GrpcReplicaSink::Await(const model::VolumeName& volume,
                                    const std::function<bool(const VolumeSession&)>& done, std::string_view what,
                                    absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const VolumeSession& session = sessions_[volume];
  const auto over = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !ended_.ok() || !session.refused.ok() || done(session);
  };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&over), timeout)) {
    stream_->context.TryCancel();
    return absl::UnavailableError(
        fmt::format("understudy-dr at {} didn't answer {} for {}", address_, what, absl::FormatDuration(timeout)));
  }
  if (done(session)) return absl::OkStatus();
  if (!session.refused.ok()) return session.refused;
  return Broken();
}

absl::StatusOr<model::ReplicaState> GrpcReplicaSink::Open(const model::VolumeSpec& spec) {
  v1::ReplicateRequest request;
  *request.mutable_open() = wire::ToProto(spec);
  {
    absl::MutexLock lock(&mutex_);
    if (!ended_.ok()) return Broken();
    VolumeSession& session = sessions_[spec.name];
    session = VolumeSession{};
    session.session = ++last_session_;
    request.mutable_open()->set_session(session.session);
  }
  batches_->of.erase(spec.name);
  stream_->calls->Write(request);
  RETURN_IF_ERROR(Await(
      spec.name, [](const VolumeSession& session) { return session.opened.has_value(); }, "the opening of a volume"));
  absl::MutexLock lock(&mutex_);
  return *sessions_[spec.name].opened;
}

absl::StatusOr<std::vector<model::SegmentDigest>> GrpcReplicaSink::StageResume(const model::VolumeName& volume,
                                                                               model::Slot slot,
                                                                               const std::string& path, uint64_t size,
                                                                               const std::string& base_path) {
  ASSIGN_OR_RETURN(const model::Epoch epoch, CheckSession(volume));
  {
    absl::MutexLock lock(&mutex_);
    sessions_[volume].resumed.reset();
  }
  v1::ReplicateRequest request;
  request.set_epoch(epoch);
  *request.mutable_stage_resume() = wire::ToResume(wire::StageBegin{volume, slot, path, size, base_path});
  WriteAfterRanges(volume, epoch, std::move(request));
  const auto answered = [slot](const VolumeSession& session) {
    return session.resumed.has_value() && session.resumed->slot == slot;
  };
  RETURN_IF_ERROR(Await(volume, answered, "what it staged before",
                        kAnswerTimeout + absl::Seconds(static_cast<int64_t>(size / kSlowestReadBytesPerSecond))));
  absl::MutexLock lock(&mutex_);
  wire::StageResumed& resumed = *sessions_[volume].resumed;
  if (!resumed.found) return absl::NotFoundError(fmt::format("nothing was staged for '{}' before", Printable(path)));
  return std::move(resumed.segments);
}

absl::Status GrpcReplicaSink::StageBegin(const model::VolumeName& volume, model::Slot slot, const std::string& path,
                                         uint64_t size, const std::string& base_path) {
  ASSIGN_OR_RETURN(const model::Epoch epoch, CheckSession(volume));
  v1::ReplicateRequest request;
  request.set_epoch(epoch);
  *request.mutable_stage_begin() = wire::ToProto(wire::StageBegin{volume, slot, path, size, base_path});
  WriteAfterRanges(volume, epoch, std::move(request));
  return absl::OkStatus();
}

absl::Status GrpcReplicaSink::StageData(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                                        std::string_view data) {
  return StageRange(volume, slot, offset, data.size(), data);
}

absl::Status GrpcReplicaSink::StageHole(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                                        uint64_t length) {
  return StageRange(volume, slot, offset, length, {});
}

absl::Status GrpcReplicaSink::StageRange(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                                         uint64_t length, std::string_view data) {
  ASSIGN_OR_RETURN(const model::Epoch epoch, CheckSession(volume));
  RangeBatch& batch = batches_->of[volume];
  if (!batch.Add(volume, slot, offset, length, data)) {
    WriteRanges(volume, epoch);
    UNDERSTUDY_CHECK(batch.Add(volume, slot, offset, length, data));
  }
  if (batch.full()) WriteRanges(volume, epoch);
  return absl::OkStatus();
}

void GrpcReplicaSink::WriteRanges(const model::VolumeName& volume, model::Epoch epoch) {
  RangeBatch& batch = batches_->of[volume];
  if (batch.empty()) return;
  v1::ReplicateRequest request;
  request.set_epoch(epoch);
  *request.mutable_stage_data() = batch.Take();
  stream_->calls->Write(request);
}

void GrpcReplicaSink::WriteAfterRanges(const model::VolumeName& volume, model::Epoch epoch,
                                       v1::ReplicateRequest request) {
  WriteRanges(volume, epoch);
  stream_->calls->Write(request);
}

absl::Status GrpcReplicaSink::StageDelta(const model::VolumeName& volume, model::Slot slot,
                                         const model::SegmentDelta& delta) {
  ASSIGN_OR_RETURN(const model::Epoch epoch, CheckSession(volume));
  v1::ReplicateRequest request;
  request.set_epoch(epoch);
  *request.mutable_stage_delta() = wire::ToProto(wire::StageDelta{volume, slot, delta});
  WriteAfterRanges(volume, epoch, std::move(request));
  return absl::OkStatus();
}

absl::Status GrpcReplicaSink::StageEnd(const model::VolumeName& volume, model::Slot slot) {
  ASSIGN_OR_RETURN(const model::Epoch epoch, CheckSession(volume));
  v1::ReplicateRequest request;
  request.set_epoch(epoch);
  *request.mutable_stage_end() = wire::ToProto(wire::StageEnd{volume, slot});
  WriteAfterRanges(volume, epoch, std::move(request));
  return absl::OkStatus();
}

absl::Status GrpcReplicaSink::StageFiles(const model::VolumeName& volume, const model::StagedBatch& batch) {
  ASSIGN_OR_RETURN(const model::Epoch epoch, CheckSession(volume));
  v1::ReplicateRequest request;
  request.set_epoch(epoch);
  *request.mutable_stage_files() = wire::ToProto(volume, batch);
  stream_->calls->Write(request);
  return absl::OkStatus();
}

absl::Status GrpcReplicaSink::Submit(const model::Commit& commit) {
  RETURN_IF_ERROR(CheckSession(commit.volume).status());
  v1::ReplicateRequest request;
  request.set_epoch(commit.epoch);
  *request.mutable_commit() = wire::ToProto(commit);
  WriteAfterRanges(commit.volume, commit.epoch, std::move(request));
  return Await(
      commit.volume, [&](const VolumeSession& session) { return session.acknowledged >= commit.sequence; }, "a commit");
}

model::Sequence GrpcReplicaSink::Published(const model::VolumeName& volume) {
  absl::MutexLock lock(&mutex_);
  const auto session = sessions_.find(volume);
  return session == sessions_.end() ? 0 : session->second.published;
}

void GrpcReplicaSink::ListenToDamage(const DamageListener& listener) {
  absl::MutexLock lock(&mutex_);
  on_damaged_ = listener;
}

absl::Status GrpcReplicaSink::Inventory(const model::VolumeName& volume, bool with_digests,
                                        const std::function<absl::Status(model::InventoryEntry)>& visit) {
  grpc::ClientContext context;
  v1::InventoryRequest request;
  request.set_volume(volume);
  request.set_with_digests(with_digests);
  const auto reader = stream_->stub->Inventory(&context, request);
  v1::InventoryResponse response;
  absl::Status status;
  while (status.ok() && reader->Read(&response)) {
    absl::StatusOr<std::vector<model::InventoryEntry>> entries = wire::Parse(response);
    status = entries.status();
    for (size_t i = 0; status.ok() && i < entries->size(); ++i) status = visit(std::move((*entries)[i]));
  }
  if (!status.ok()) context.TryCancel();
  const grpc::Status finished = reader->Finish();
  if (!status.ok()) return status;
  return finished.ok() ? absl::OkStatus() : net::CallError(finished, "understudy-dr", address_);
}

absl::StatusOr<std::string> GrpcReplicaSink::SegmentSignature(const model::VolumeName& volume, const std::string& path,
                                                              uint64_t number) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kSignatureTimeout);
  v1::SegmentSignatureResponse response;
  const grpc::Status status =
      stream_->stub->SegmentSignature(&context, wire::ToProto(wire::SegmentPlace{volume, path, number}), &response);
  // An earlier understudy-dr refuses what its table of methods doesn't have.
  if (status.error_code() == grpc::StatusCode::PERMISSION_DENIED)
    return absl::UnimplementedError("no signatures there");
  if (!status.ok()) return net::CallError(status, "understudy-dr", address_);
  return wire::Parse(response);
}

}  // namespace understudy::primary
