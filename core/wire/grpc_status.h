// grpc_status.h: absl::Status to grpc::Status and back; the codes are the same.
#pragma once

#include <grpcpp/support/status.h>

#include "core/base/status.h"

namespace understudy::wire {

// The message is cut to kMaxErrorMessageBytes and made printable, as gRPC carries it in a header.
[[nodiscard]] grpc::Status ToGrpc(const absl::Status& status);
[[nodiscard]] absl::Status FromGrpc(const grpc::Status& status);

}  // namespace understudy::wire
