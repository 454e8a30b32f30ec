#include "agent-primary/ship/volume_discarder.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "core/net/grpc_status.h"
#include "core/wire/trash_codec.h"
#include "understudy/v1/replication.grpc.pb.h"

namespace understudy::primary {
namespace {

// DR publishes and syncs before it moves the data.
constexpr std::chrono::minutes kDeadline(2);

}  // namespace

struct VolumeDiscarder::Stub {
  std::string address;
  std::unique_ptr<v1::Replication::Stub> rpc;
};

absl::StatusOr<std::unique_ptr<VolumeDiscarder>> VolumeDiscarder::Create(const net::ChannelSpec& peer) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, net::MakeChannel(peer));
  return std::unique_ptr<VolumeDiscarder>(
      new VolumeDiscarder(std::make_unique<Stub>(Stub{peer.address, v1::Replication::NewStub(channel)})));
}

VolumeDiscarder::VolumeDiscarder(std::unique_ptr<Stub> stub) : stub_(std::move(stub)) {}
VolumeDiscarder::~VolumeDiscarder() = default;

absl::Status VolumeDiscarder::Discard(const model::DiscardedVolume& discarded) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  v1::DiscardVolumeResponse response;
  const grpc::Status status = stub_->rpc->DiscardVolume(&context, wire::ToProto(discarded), &response);
  return status.ok() ? absl::OkStatus() : net::CallError(status, "understudy-dr", stub_->address);
}

}  // namespace understudy::primary
