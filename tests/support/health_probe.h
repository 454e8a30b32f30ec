// health_probe.h: what grpc_health_probe does: one grpc.health.v1.Health/Check.
#pragma once

#include <memory>
#include <string>

#include "core/base/status.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace understudy::tests {

// Whether `service` ("": the server as a whole) is SERVING. NOT_FOUND: the server knows no such service.
[[nodiscard]] absl::StatusOr<bool> CheckHealth(const std::shared_ptr<grpc::Channel>& channel,
                                               const std::string& service);

}  // namespace understudy::tests
