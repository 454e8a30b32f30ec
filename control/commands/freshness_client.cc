#include "control/commands/freshness_client.h"

#include <grpcpp/grpcpp.h>

#include <iterator>
#include <utility>

#include "control/commands/agents_client.h"
#include "core/net/channel.h"
#include "core/net/grpc_status.h"
#include "core/net/stoppable_call.h"
#include "core/wire/freshness_codec.h"
#include "understudy/v1/freshness.grpc.pb.h"

namespace understudy::control {

struct FreshnessClient::Stub {
  std::string address;
  std::unique_ptr<v1::Freshness::Stub> rpc;
  std::stop_token stop;
};

absl::StatusOr<FreshnessClient> FreshnessClient::Create(const std::string& address, const net::TlsFiles& tls,
                                                        std::stop_token stop) {
  ASSIGN_OR_RETURN(const auto channel, net::MakeChannel({address, tls, net::Role::kControl, net::Role::kDr}));
  return FreshnessClient(std::make_unique<Stub>(Stub{address, v1::Freshness::NewStub(channel), std::move(stop)}));
}

FreshnessClient::FreshnessClient(std::unique_ptr<Stub> stub) : stub_(std::move(stub)) {}
FreshnessClient::FreshnessClient(FreshnessClient&&) noexcept = default;
FreshnessClient::~FreshnessClient() = default;

absl::StatusOr<std::vector<model::Confirmation>> FreshnessClient::List() const {
  std::vector<model::Confirmation> confirmations;
  v1::ListConfirmationsRequest request;
  while (true) {
    net::StoppableCall call(stub_->stop, kQueryTimeout);
    v1::ListConfirmationsResponse response;
    const grpc::Status status = stub_->rpc->ListConfirmations(&call.context(), request, &response);
    if (!status.ok()) return net::CallError(status, "understudy-dr", stub_->address);
    ASSIGN_OR_RETURN(wire::ConfirmationPage page, wire::Parse(response));
    std::move(page.confirmations.begin(), page.confirmations.end(), std::back_inserter(confirmations));
    if (!page.more) return confirmations;
    if (confirmations.back().volume <= request.after_volume()) {
      return absl::InternalError("understudy-dr lists its confirmations in a circle");
    }
    request.set_after_volume(confirmations.back().volume);
  }
}

}  // namespace understudy::control
