// grpc_status.h: errors across gRPC: the codes are the same numbers on both sides. Thread-safe.
#pragma once

#include <grpcpp/support/status.h>

#include <string_view>

#include "core/base/status.h"

namespace understudy::net {

// Longer messages are cut: they travel in a header, whose size peers limit.
inline constexpr size_t kMaxStatusMessageBytes = 2048;

[[nodiscard]] grpc::Status ToGrpcStatus(const absl::Status& status);
[[nodiscard]] absl::Status FromGrpcStatus(const grpc::Status& status);

// What a failed call means to the caller: UNAVAILABLE becomes "can't reach <program> at <address>: <reason>; <what to
// check>"; any other error keeps its code and says who answered.
[[nodiscard]] absl::Status CallError(const grpc::Status& status, std::string_view program, std::string_view address);

}  // namespace understudy::net
