#include "agent-dr/service/freshness_service.h"

#include <grpcpp/grpcpp.h>

#include <string>
#include <utility>
#include <vector>

#include "core/net/grpc_status.h"
#include "core/wire/freshness_codec.h"
#include "core/wire/limits.h"
#include "understudy/v1/freshness.grpc.pb.h"

namespace understudy::dr {
namespace {

class FreshnessService final : public v1::Freshness::Service {
 public:
  FreshnessService(CommitEngine& engine, Confirmations& confirmations)
      : engine_(engine), confirmations_(confirmations) {}

  grpc::Status ConfirmUpToDate(grpc::ServerContext*, const v1::ConfirmUpToDateRequest* request,
                               v1::ConfirmUpToDateResponse*) override {
    const absl::StatusOr<std::vector<model::Confirmation>> confirmed = wire::Parse(*request);
    if (!confirmed.ok()) return net::ToGrpcStatus(confirmed.status());
    return net::ToGrpcStatus(confirmations_.Take(*confirmed, engine_.List()));
  }

  grpc::Status ListConfirmations(grpc::ServerContext*, const v1::ListConfirmationsRequest* request,
                                 v1::ListConfirmationsResponse* response) override {
    const absl::StatusOr<std::string> after = wire::Parse(*request);
    if (!after.ok()) return net::ToGrpcStatus(after.status());
    wire::ConfirmationPage page;
    for (model::Confirmation& confirmation : confirmations_.Of(engine_.List())) {
      if (!after->empty() && confirmation.volume <= *after) continue;
      page.more = page.confirmations.size() == wire::kMaxPageEntries;
      if (page.more) break;
      page.confirmations.push_back(std::move(confirmation));
    }
    *response = wire::ToProto(page);
    return grpc::Status::OK;
  }

 private:
  CommitEngine& engine_;
  Confirmations& confirmations_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeFreshnessService(CommitEngine& engine, Confirmations& confirmations) {
  return std::make_unique<FreshnessService>(engine, confirmations);
}

}  // namespace understudy::dr
