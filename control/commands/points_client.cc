#include "control/commands/points_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "control/commands/agents_client.h"
#include "core/net/channel.h"
#include "core/net/grpc_status.h"
#include "core/net/stoppable_call.h"
#include "core/wire/points_codec.h"
#include "understudy/v1/points.grpc.pb.h"

namespace understudy::control {
namespace {

constexpr char kDrProgram[] = "understudy-dr";

}  // namespace

struct PointsClient::Stub {
  std::string address;
  std::unique_ptr<v1::Points::Stub> rpc;
  std::stop_token stop;

  template <class Request, class Response>
  absl::Status Call(grpc::Status (v1::Points::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response& response) const {
    net::StoppableCall call(stop, kQueryTimeout);
    const grpc::Status status = (rpc.get()->*method)(&call.context(), request, &response);
    return status.ok() ? absl::OkStatus() : net::CallError(status, kDrProgram, address);
  }
};

absl::StatusOr<PointsClient> PointsClient::Create(const std::string& address, const net::TlsFiles& tls,
                                                  std::stop_token stop) {
  ASSIGN_OR_RETURN(const auto channel, net::MakeChannel({address, tls, net::Role::kControl, net::Role::kDr}));
  return PointsClient(std::make_unique<Stub>(Stub{address, v1::Points::NewStub(channel), std::move(stop)}));
}

PointsClient::PointsClient(std::unique_ptr<Stub> stub) : stub_(std::move(stub)) {}
PointsClient::PointsClient(PointsClient&&) noexcept = default;
PointsClient::~PointsClient() = default;

absl::StatusOr<model::RecoveryPoints> PointsClient::List(const std::string& volume) const {
  v1::ListPointsRequest request;
  request.set_volume(volume);
  v1::ListPointsResponse response;
  RETURN_IF_ERROR(stub_->Call(&v1::Points::Stub::ListPoints, request, response));
  return wire::Parse(response);
}

absl::StatusOr<model::Sequence> PointsClient::Label(const std::string& volume, std::optional<model::Sequence> sequence,
                                                    const std::string& label, bool pinned) const {
  v1::LabelPointRequest request;
  request.set_volume(volume);
  request.set_newest(!sequence.has_value());
  request.set_sequence(sequence.value_or(0));
  request.set_label(label);
  request.set_pinned(pinned);
  v1::LabelPointResponse response;
  RETURN_IF_ERROR(stub_->Call(&v1::Points::Stub::LabelPoint, request, response));
  return response.sequence();
}

absl::Status PointsClient::Unlabel(const std::string& volume, model::Sequence sequence) const {
  v1::UnlabelPointRequest request;
  request.set_volume(volume);
  request.set_sequence(sequence);
  v1::UnlabelPointResponse response;
  return stub_->Call(&v1::Points::Stub::UnlabelPoint, request, response);
}

absl::Status PointsClient::Rewind(const std::string& volume, model::Sequence sequence, const Step& step) const {
  net::StoppableCall call(stub_->stop);
  v1::RewindReplicaRequest request;
  request.set_volume(volume);
  request.set_sequence(sequence);
  const auto reader = stub_->rpc->RewindReplica(&call.context(), request);
  v1::RewindReplicaResponse response;
  bool done = false;
  while (reader->Read(&response)) {
    done = response.done();
    if (!done) step(response.records_run(), response.records());
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return net::CallError(status, kDrProgram, stub_->address);
  return done ? absl::OkStatus() : absl::InternalError("understudy-dr ended a rewind without a result");
}

absl::StatusOr<model::PointTree> PointsClient::Materialise(const Wish& wish, const Step& step) const {
  net::StoppableCall call(stub_->stop);
  v1::MaterialisePointRequest request;
  request.set_volume(wish.volume);
  request.set_sequence(wish.sequence);
  request.set_path(wish.path);
  request.set_writable(wish.writable);
  const auto reader = stub_->rpc->MaterialisePoint(&call.context(), request);
  v1::MaterialisePointResponse response;
  std::optional<v1::PointTree> tree;
  while (reader->Read(&response)) {
    if (response.has_tree()) {
      tree = response.tree();
    } else {
      step(response.records_run(), response.records());
    }
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return net::CallError(status, kDrProgram, stub_->address);
  if (!tree.has_value()) return absl::InternalError("understudy-dr made a tree and didn't say which");
  return wire::Parse(*tree);
}

absl::Status PointsClient::Release(const std::string& volume) const {
  v1::ReleaseReplicaRequest request;
  request.set_volume(volume);
  v1::ReleaseReplicaResponse response;
  return stub_->Call(&v1::Points::Stub::ReleaseReplica, request, response);
}

absl::StatusOr<std::vector<model::PointTree>> PointsClient::ListTrees() const {
  std::vector<model::PointTree> trees;
  v1::ListTreesRequest request;
  while (true) {
    v1::ListTreesResponse response;
    RETURN_IF_ERROR(stub_->Call(&v1::Points::Stub::ListTrees, request, response));
    ASSIGN_OR_RETURN(wire::PointTreePage page, wire::Parse(response));
    for (model::PointTree& tree : page.trees) trees.push_back(std::move(tree));
    if (!page.more) return trees;
    if (trees.back().id <= request.after_id()) {
      return absl::InternalError("understudy-dr lists its trees in a circle");
    }
    request.set_after_id(trees.back().id);
  }
}

absl::StatusOr<model::PointTree> PointsClient::RemoveTree(const std::string& id) const {
  net::StoppableCall call(stub_->stop);  // a large tree takes its time
  v1::RemoveTreeRequest request;
  request.set_id(id);
  v1::RemoveTreeResponse response;
  const grpc::Status status = stub_->rpc->RemoveTree(&call.context(), request, &response);
  if (!status.ok()) return net::CallError(status, kDrProgram, stub_->address);
  return wire::Parse(response.tree());
}

}  // namespace understudy::control
