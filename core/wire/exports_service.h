// exports_service.h: understudy.v1.Exports over whatever controls an agent's exports; both agents serve it.
#pragma once

#include <memory>

#include "core/model/exports.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::wire {

// `exports` outlives the service. Thread-safe.
[[nodiscard]] std::unique_ptr<grpc::Service> MakeExportsService(model::ExportControl& exports);

}  // namespace understudy::wire
