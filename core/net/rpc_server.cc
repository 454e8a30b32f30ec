#include "core/net/rpc_server.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/auth_metadata_processor.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <utility>

#include "absl/time/clock.h"
#include "core/base/log.h"
#include "core/net/grpc_log.h"
#include "core/net/limits.h"

namespace understudy::net {
namespace {

// Refuses calls that no role of the peer's certificate may make. gRPC runs it for every call, before the service.
class RoleCheck : public grpc::AuthMetadataProcessor {
 public:
  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context, OutputMetadata*,
                       OutputMetadata*) override {
    const auto path = metadata.find(":path");
    const std::string_view method =
        path == metadata.end() ? std::string_view() : std::string_view(path->second.data(), path->second.size());
    std::string roles;
    for (const grpc::string_ref& uri : context->FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME)) {
      const std::optional<Role> role = RoleOfUri({uri.data(), uri.size()});
      if (!role) continue;
      if (MayCall(*role, method)) return grpc::Status::OK;
      roles += fmt::format("{}'{}'", roles.empty() ? "" : ", ", ToString(*role));
    }
    return {grpc::StatusCode::PERMISSION_DENIED,
            fmt::format("a certificate with {} may not call {}", roles.empty() ? "no role" : "the role " + roles,
                        Printable(method))};
  }
};

std::shared_ptr<grpc::ServerCredentials> Credentials(const TlsFiles& tls) {
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          tls.key.native(), tls.cert.native(), tls.ca.native(),
          static_cast<unsigned>(absl::ToInt64Seconds(kCertificateRefreshInterval))));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  auto credentials = grpc::experimental::TlsServerCredentials(options);
  credentials->SetAuthMetadataProcessor(std::make_shared<RoleCheck>());
  return credentials;
}

void SetLimits(grpc::ServerBuilder& builder) {
  const auto milliseconds = [](absl::Duration duration) {
    return static_cast<int>(absl::ToInt64Milliseconds(duration));
  };
  grpc::ResourceQuota quota("rpc_server");
  quota.SetMaxThreads(kMaxServerThreads);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(kKeepaliveInterval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(kKeepaliveTimeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, milliseconds(kLeastPingInterval));
  // Else a second server would share the port in silence.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace

struct RpcServer::Parts {
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const std::string& listen, const TlsFiles& tls, Role role,
                                                            const std::vector<grpc::Service*>& services) {
  TakeOverGrpcLog();
  RETURN_IF_ERROR(CheckTlsFiles(tls, role));
  auto parts = std::make_unique<Parts>();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetLimits(builder);
  builder.AddListeningPort(listen, Credentials(tls), &parts->port);
  for (grpc::Service* const service : services) builder.RegisterService(service);
  parts->server = builder.BuildAndStart();
  if (!parts->server || parts->port == 0) {
    return absl::InternalError(fmt::format(
        "can't listen on {}: check that the address is this host's and that nothing else has the port", listen));
  }
  return std::unique_ptr<RpcServer>(new RpcServer(std::move(parts)));
}

RpcServer::RpcServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

RpcServer::~RpcServer() {
  Shutdown(absl::ZeroDuration());
}

int RpcServer::port() const {
  return parts_->port;
}

void RpcServer::SetServing(const std::string& service, bool serving) {
  parts_->server->GetHealthCheckService()->SetServingStatus(service, serving);
}

void RpcServer::Shutdown(absl::Duration grace) {
  parts_->server->GetHealthCheckService()->Shutdown();
  parts_->server->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  parts_->server->Wait();
}

}  // namespace understudy::net
