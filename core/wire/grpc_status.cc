#include "core/wire/grpc_status.h"

#include "core/wire/limits.h"
#include "core/wire/parse_parts.h"

namespace understudy::wire {

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), ToText(MessageOf(status), kMaxErrorMessageBytes));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      ToText(status.error_message(), kMaxErrorMessageBytes));
}

}  // namespace understudy::wire
