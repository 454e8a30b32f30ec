#include "agent-primary/ship/replica_lister.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "core/net/grpc_status.h"
#include "core/wire/verify_codec.h"
#include "understudy/v1/verify.grpc.pb.h"

namespace understudy::primary {

struct ReplicaLister::Stub {
  std::string address;
  std::unique_ptr<v1::Verify::Stub> rpc;
};

absl::StatusOr<std::unique_ptr<ReplicaLister>> ReplicaLister::Create(const net::ChannelSpec& peer) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, net::MakeChannel(peer));
  return std::unique_ptr<ReplicaLister>(
      new ReplicaLister(std::make_unique<Stub>(Stub{peer.address, v1::Verify::NewStub(channel)})));
}

ReplicaLister::ReplicaLister(std::unique_ptr<Stub> stub) : stub_(std::move(stub)) {}
ReplicaLister::~ReplicaLister() = default;

absl::Status ReplicaLister::List(const model::VolumeName& volume, bool with_digests,
                                 const std::vector<std::string>& paths,
                                 const std::function<absl::Status(const model::ListedEntry&)>& visit,
                                 const std::function<absl::Status()>& on_wait) const {
  grpc::ClientContext context;
  const auto reader =
      stub_->rpc->ListEntries(&context, wire::ToProto(wire::ListEntriesRequest{volume, with_digests, paths}));
  v1::ListEntriesResponse response;
  absl::Status status;
  while (status.ok() && reader->Read(&response)) {
    const absl::StatusOr<std::vector<model::ListedEntry>> entries = wire::Parse(response);
    status = entries.ok() ? on_wait() : entries.status();
    for (size_t i = 0; status.ok() && i < entries->size(); ++i) status = visit((*entries)[i]);
  }
  if (!status.ok()) context.TryCancel();
  const grpc::Status finished = reader->Finish();
  if (!status.ok()) return status;
  return finished.ok() ? absl::OkStatus() : net::CallError(finished, "understudy-dr", stub_->address);
}

}  // namespace understudy::primary
