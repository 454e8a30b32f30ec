#include "core/net/channel.h"

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <functional>
#include <utility>

#include "core/net/grpc_log.h"
#include "core/net/limits.h"

namespace understudy::net {
namespace {

namespace tls = grpc::experimental;

// Beyond the chain, which TLS itself verifies: the server's certificate must name the host and carry the role.
class HostAndRoleVerifier : public tls::ExternalCertificateVerifier {
 public:
  explicit HostAndRoleVerifier(Role role) : role_(role) {}

  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    grpc::Status host_status;
    const auto never_called = [](const grpc::Status&) {};
    const bool was_synchronous = host_verifier_.Verify(request, never_called, &host_status);
    if (!was_synchronous || !host_status.ok()) {
      *sync_status = {grpc::StatusCode::UNAUTHENTICATED,
                      fmt::format("the certificate there doesn't name '{}'", ToText(request->target_name()))};
      return true;
    }
    for (const grpc::string_ref& uri : request->uri_names()) {
      if (RoleOfUri(ToText(uri)) == role_) {
        *sync_status = grpc::Status::OK;
        return true;
      }
    }
    *sync_status = {grpc::StatusCode::UNAUTHENTICATED,
                    fmt::format("the certificate there doesn't carry the role '{}'", ToString(role_))};
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}

 private:
  static std::string_view ToText(const grpc::string_ref& text) { return {text.data(), text.size()}; }

  const Role role_;
  tls::HostNameCertificateVerifier host_verifier_;
};

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(kKeepaliveInterval));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(kKeepaliveTimeout));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, Milliseconds(kFirstReconnectBackoff));
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, Milliseconds(kConnectTimeout));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, Milliseconds(kMaxReconnectBackoff));
  // Replication goes straight to its peer: a proxy of the environment is meant for other things.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return arguments;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelSpec& spec) {
  TakeOverGrpcLog();
  RETURN_IF_ERROR(CheckTlsFiles(spec.tls, spec.own_role));
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(std::make_shared<tls::FileWatcherCertificateProvider>(
      spec.tls.key.native(), spec.tls.cert.native(), spec.tls.ca.native(),
      static_cast<unsigned>(absl::ToInt64Seconds(kCertificateRefreshInterval))));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(true);
  options.set_check_call_host(false);  // the verifier does, once for each connection
  options.set_certificate_verifier(tls::ExternalCertificateVerifier::Create<HostAndRoleVerifier>(spec.server_role));
  return grpc::CreateCustomChannel(spec.address, tls::TlsCredentials(options), Arguments());
}

}  // namespace understudy::net
