#include "agent-dr/receive/replication_service.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <string>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "agent-dr/receive/damage_teller.h"
#include "agent-dr/receive/lanes.h"
#include "core/base/log.h"
#include "core/net/grpc_status.h"
#include "core/wire/limits.h"
#include "core/wire/replication_codec.h"
#include "core/wire/trash_codec.h"
#include "understudy/v1/replication.grpc.pb.h"

namespace understudy::dr {
namespace {

// Gathers inventory entries into messages within the bounds of a page.
class InventoryPages {
 public:
  explicit InventoryPages(grpc::ServerWriter<v1::InventoryResponse>& writer) : writer_(writer) {}

  absl::Status Add(const model::InventoryEntry& entry) {
    v1::InventoryEntry message = wire::ToProto(entry);
    bytes_ += message.ByteSizeLong();
    *page_.add_entries() = std::move(message);
    const bool full =
        static_cast<size_t>(page_.entries_size()) >= wire::kMaxPageEntries || bytes_ >= wire::kMaxPageBytes;
    return full ? Flush() : absl::OkStatus();
  }

  absl::Status Flush() {
    if (page_.entries().empty()) return absl::OkStatus();
    const bool sent = writer_.Write(page_);
    page_.clear_entries();
    bytes_ = 0;
    return sent ? absl::OkStatus() : absl::CancelledError("the caller hung up");
  }

 private:
  grpc::ServerWriter<v1::InventoryResponse>& writer_;
  v1::InventoryResponse page_;
  size_t bytes_ = 0;
};

class ReplicationService final : public v1::Replication::Service {
 public:
  ReplicationService(CommitEngine& engine, wire::Handshake ours) : engine_(engine), ours_(std::move(ours)) {}

  grpc::Status Handshake(grpc::ServerContext* context, const v1::HandshakeRequest* request,
                         v1::HandshakeResponse* response) override {
    const absl::StatusOr<wire::Handshake> theirs = wire::Parse(*request);
    if (!theirs.ok()) return net::ToGrpcStatus(theirs.status());
    const absl::Status same =
        wire::CheckVersions(ours_, fmt::format("understudy-dr on host {}", ours_.host), *theirs,
                            fmt::format("understudy-primary on host {}", Printable(theirs->host)));
    if (!same.ok()) {
      spdlog::warn("handshake refused peer={}: {}", context->peer(), MessageOf(same));
      return net::ToGrpcStatus(same);
    }
    *response = wire::ToResponse(ours_);
    return grpc::Status::OK;
  }

  grpc::Status Replicate(grpc::ServerContext* context,
                         grpc::ServerReaderWriter<v1::ReplicateResponse, v1::ReplicateRequest>* stream) override {
    spdlog::info("stream begins peer={}", context->peer());
    absl::Mutex write_mutex;
    const auto answer = [&](const v1::ReplicateResponse& response) {
      absl::MutexLock lock(&write_mutex);
      stream->Write(response);  // a stream that ended drops it; its reader ends, too
    };
    absl::Status status;
    {
      DamageTeller teller(answer);
      const auto tell_damage = [&](const v1::ReplicateResponse& told) { teller.Tell(told); };
      Lanes lanes([&] { return std::make_unique<VolumeReceiver>(engine_, answer, tell_damage); });
      v1::ReplicateRequest request;
      while (status.ok() && stream->Read(&request)) {
        const absl::StatusOr<model::VolumeName> volume = VolumeOf(request);
        status = volume.ok() ? lanes.Push(*volume, std::move(request)) : volume.status();
        request.Clear();
      }
    }
    if (status.ok()) {
      spdlog::info("stream ended peer={}", context->peer());
    } else {
      spdlog::warn("stream ended peer={}: {}", context->peer(), MessageOf(status));
    }
    return net::ToGrpcStatus(status);
  }

  grpc::Status Inventory(grpc::ServerContext* context, const v1::InventoryRequest* request,
                         grpc::ServerWriter<v1::InventoryResponse>* writer) override {
    const absl::StatusOr<wire::InventoryRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    InventoryPages pages(*writer);
    absl::Status status =
        engine_.Inventory(parsed->volume, parsed->with_digests, [&](const model::InventoryEntry& entry) {
          if (context->IsCancelled()) return absl::CancelledError("the caller hung up");
          return pages.Add(entry);
        });
    if (status.ok()) status = pages.Flush();
    if (!status.ok() && !absl::IsCancelled(status)) {
      spdlog::warn("inventory failed volume={}: {}", parsed->volume, MessageOf(status));
    }
    return net::ToGrpcStatus(status);
  }

  grpc::Status SegmentSignature(grpc::ServerContext*, const v1::SegmentSignatureRequest* request,
                                v1::SegmentSignatureResponse* response) override {
    const absl::StatusOr<wire::SegmentPlace> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    absl::StatusOr<std::string> signature = engine_.SegmentSignature(parsed->volume, parsed->path, parsed->number);
    if (!signature.ok()) return net::ToGrpcStatus(signature.status());
    response->set_signature(*std::move(signature));
    return grpc::Status::OK;
  }

  grpc::Status DiscardVolume(grpc::ServerContext* context, const v1::DiscardVolumeRequest* request,
                             v1::DiscardVolumeResponse*) override {
    const absl::StatusOr<model::DiscardedVolume> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    const absl::Status moved = engine_.MoveToTrash(*parsed, "deleted at the primary");
    if (moved.ok()) {
      spdlog::info("volume={} moved to the trash peer={}", parsed->volume, context->peer());
    } else {
      spdlog::warn("volume={} can't be moved to the trash: {}", parsed->volume, MessageOf(moved));
    }
    return net::ToGrpcStatus(moved);
  }

 private:
  CommitEngine& engine_;
  const wire::Handshake ours_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeReplicationService(CommitEngine& engine, wire::Handshake ours) {
  return std::make_unique<ReplicationService>(engine, std::move(ours));
}

}  // namespace understudy::dr
