// rpc_server.h: a gRPC server with mutual TLS, one place that refuses what a peer's role may not call, and health.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>  // whole, since who makes services has to delete them

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/net/tls_files.h"

namespace understudy::net {

// Serves from Start until Shutdown or destruction, on threads of its own (at most kMaxServerThreads). Every caller
// needs a certificate of the trusted authorities; every method is checked against roles.h before its service hears of
// it (PERMISSION_DENIED). Thread-safe.
class RpcServer {
 public:
  // `services` outlive the server. `role` is what the own certificate has to carry. INVALID_ARGUMENT: `tls` is unfit.
  // INTERNAL: can't listen.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const std::string& listen, const TlsFiles& tls,
                                                                        Role role,
                                                                        const std::vector<grpc::Service*>& services);
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // The port that it listens on.
  [[nodiscard]] int port() const;

  // What grpc.health.v1.Health says of `service`; "" stands for the server as a whole and is SERVING from the start.
  void SetServing(const std::string& service, bool serving);

  // Takes no more calls, waits up to `grace` for those under way, cancels the rest and returns when all have ended.
  // Health says NOT_SERVING from here on. Calling it again does nothing.
  void Shutdown(absl::Duration grace);

 private:
  struct Parts;
  explicit RpcServer(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace understudy::net
