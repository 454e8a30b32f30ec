#include "control/commands/exports_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "control/commands/agents_client.h"
#include "core/net/channel.h"
#include "core/net/grpc_status.h"
#include "core/net/stoppable_call.h"
#include "core/wire/exports_codec.h"
#include "understudy/v1/exports.grpc.pb.h"

namespace understudy::control {
namespace {

// The agent's own bounds for a call of an NFS server's tools lie below it, by default.
constexpr absl::Duration kSetTimeout = absl::Minutes(2);

}  // namespace

struct ExportsClient::Stub {
  std::string address;
  std::string program;
  std::unique_ptr<v1::Exports::Stub> rpc;
  std::stop_token stop;
};

absl::StatusOr<ExportsClient> ExportsClient::Create(const std::string& address, const net::TlsFiles& tls,
                                                    net::Role agent, std::stop_token stop) {
  ASSIGN_OR_RETURN(const auto channel, net::MakeChannel({address, tls, net::Role::kControl, agent}));
  return ExportsClient(std::make_unique<Stub>(Stub{address, "understudy-" + std::string(net::ToString(agent)),
                                                   v1::Exports::NewStub(channel), std::move(stop)}));
}

ExportsClient::ExportsClient(std::unique_ptr<Stub> stub) : stub_(std::move(stub)) {}
ExportsClient::ExportsClient(ExportsClient&&) noexcept = default;
ExportsClient::~ExportsClient() = default;

absl::StatusOr<std::vector<model::ExportState>> ExportsClient::List() const {
  std::vector<model::ExportState> exports;
  v1::ListExportsRequest request;
  while (true) {
    net::StoppableCall call(stub_->stop, kQueryTimeout);
    v1::ListExportsResponse response;
    const grpc::Status status = stub_->rpc->ListExports(&call.context(), request, &response);
    if (!status.ok()) return net::CallError(status, stub_->program, stub_->address);
    ASSIGN_OR_RETURN(wire::ExportsPage page, wire::Parse(response));
    for (model::ExportState& state : page.exports) exports.push_back(std::move(state));
    if (!page.more) return exports;
    if (exports.back().name <= request.after_volume()) {
      return absl::InternalError(stub_->program + " lists its exports in a circle");
    }
    request.set_after_volume(exports.back().name);
  }
}

absl::StatusOr<model::ExportState> ExportsClient::Set(const std::string& volume, model::ExportMode mode) const {
  net::StoppableCall call(stub_->stop, kSetTimeout);
  v1::SetExportRequest request;
  request.set_volume(volume);
  request.set_mode(std::string(model::ToString(mode)));
  v1::SetExportResponse response;
  const grpc::Status status = stub_->rpc->SetExport(&call.context(), request, &response);
  if (!status.ok()) return net::CallError(status, stub_->program, stub_->address);
  return wire::Parse(response);
}

}  // namespace understudy::control
