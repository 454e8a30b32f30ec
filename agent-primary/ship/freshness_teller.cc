#include "agent-primary/ship/freshness_teller.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/net/grpc_status.h"
#include "core/wire/freshness_codec.h"
#include "core/wire/limits.h"
#include "understudy/v1/freshness.grpc.pb.h"

namespace understudy::primary {
namespace {

constexpr std::chrono::seconds kDeadline(5);

}  // namespace

struct FreshnessTeller::Stub {
  std::string address;
  std::unique_ptr<v1::Freshness::Stub> rpc;
};

absl::StatusOr<std::unique_ptr<FreshnessTeller>> FreshnessTeller::Create(const net::ChannelSpec& peer) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, net::MakeChannel(peer));
  return std::unique_ptr<FreshnessTeller>(
      new FreshnessTeller(std::make_unique<Stub>(Stub{peer.address, v1::Freshness::NewStub(channel)})));
}

FreshnessTeller::FreshnessTeller(std::unique_ptr<Stub> stub) : stub_(std::move(stub)) {}
FreshnessTeller::~FreshnessTeller() = default;

absl::Status FreshnessTeller::Tell(std::span<const model::Confirmation> confirmations,
                                   const std::stop_token& stop) const {
  while (!confirmations.empty()) {
    const auto page = confirmations.first(std::min(confirmations.size(), wire::kMaxPageEntries));
    confirmations = confirmations.subspan(page.size());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kDeadline);
    const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
    v1::ConfirmUpToDateResponse response;
    const grpc::Status status = stub_->rpc->ConfirmUpToDate(&context, wire::ToProto(page), &response);
    if (!status.ok()) return net::CallError(status, "understudy-dr", stub_->address);
  }
  return absl::OkStatus();
}

}  // namespace understudy::primary
