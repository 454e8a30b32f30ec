#include "core/net/channel.h"

#include <fmt/format.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
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

// gRPC reads the sockets of its connections, also for their handshakes, while some thread waits inside it. In a process
// that only calls, and only now and then, nobody does between two calls, and a call fails at once while a connection is
// being made: so a handshake would run into its limit again and again. One thread that always waits ends that.
class Pump {
 public:
  // The process's own, as long as somebody has it.
  static std::shared_ptr<Pump> Get() {
    static absl::Mutex mutex;
    static std::weak_ptr<Pump> shared;
    const absl::MutexLock lock(&mutex);
    std::shared_ptr<Pump> pump = shared.lock();
    if (pump == nullptr) shared = pump = std::make_shared<Pump>();
    return pump;
  }
  Pump() : thread_([this] { Run(); }) {}
  ~Pump() {
    queue_.Shutdown();
    thread_.join();
  }
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

 private:
  void Run() {
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) continue;
  }

  grpc::CompletionQueue queue_;  // nothing ever comes out of it but its end
  std::thread thread_;
};

struct PumpedChannel {
  std::shared_ptr<Pump> pump;
  std::shared_ptr<grpc::Channel> channel;  // goes first
};

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
  auto pumped = std::make_shared<PumpedChannel>();
  pumped->pump = Pump::Get();
  pumped->channel = grpc::CreateCustomChannel(spec.address, tls::TlsCredentials(options), Arguments());
  grpc::Channel* const channel = pumped->channel.get();
  return std::shared_ptr<grpc::Channel>(std::move(pumped), channel);
}

}  // namespace understudy::net
