#include "core/wire/exports_service.h"

#include <grpcpp/grpcpp.h>

#include "core/base/log.h"
#include "core/net/grpc_status.h"
#include "core/wire/exports_codec.h"
#include "understudy/v1/exports.grpc.pb.h"

namespace understudy::wire {
namespace {

class ExportsService final : public v1::Exports::Service {
 public:
  explicit ExportsService(model::ExportControl& exports) : exports_(exports) {}

  grpc::Status ListExports(grpc::ServerContext*, const v1::ListExportsRequest* request,
                           v1::ListExportsResponse* response) override {
    const absl::StatusOr<std::string> after_volume = Parse(*request);
    if (!after_volume.ok()) return net::ToGrpcStatus(after_volume.status());
    *response = ToProto(exports_.List(), *after_volume);
    return grpc::Status::OK;
  }

  grpc::Status SetExport(grpc::ServerContext* context, const v1::SetExportRequest* request,
                         v1::SetExportResponse* response) override {
    const absl::StatusOr<ExportOrder> order = Parse(*request);
    if (!order.ok()) return net::ToGrpcStatus(order.status());
    const absl::StatusOr<model::ExportState> state = exports_.Set(order->volume, order->mode);
    spdlog::info("volume={} export set to {} peer={}: {}", order->volume, model::ToString(order->mode), context->peer(),
                 state.ok() ? "done" : MessageOf(state.status()));
    if (!state.ok()) return net::ToGrpcStatus(state.status());
    *response->mutable_export_() = ToProto(*state);
    return grpc::Status::OK;
  }

 private:
  model::ExportControl& exports_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeExportsService(model::ExportControl& exports) {
  return std::make_unique<ExportsService>(exports);
}

}  // namespace understudy::wire
