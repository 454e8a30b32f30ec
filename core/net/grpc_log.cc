#include "core/net/grpc_log.h"

#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

namespace understudy::net {

void TakeOverGrpcLog() {
  static const bool done = [] {
    gpr_set_log_function([](gpr_log_func_args* line) { spdlog::debug("gRPC: {}", line->message); });
    return true;
  }();
  static_cast<void>(done);
}

}  // namespace understudy::net
