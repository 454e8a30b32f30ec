#include "core/telemetry/metrics_server.h"

#include <fmt/format.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <thread>
#include <utility>

#include "core/base/log.h"

namespace understudy::telemetry {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr uint32_t kMaxHeaderBytes = 8 * 1024;

// What the handlers share; it lives as long as the server's thread.
struct Shared {
  std::shared_ptr<prometheus::Collectable> metrics;
  MetricsServer::Readiness readiness;
  int connections = 0;  // only touched by the server's thread
};

using Response = http::response<http::string_body>;

void Answer(const Shared& shared, std::string_view path, Response& response) {
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  if (path == "/metrics") {
    response.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
    response.body() = prometheus::TextSerializer().Serialize(shared.metrics->Collect());
  } else if (path == "/healthz") {
    response.body() = "ok\n";
  } else if (path == "/readyz") {
    const absl::Status ready = shared.readiness();
    if (!ready.ok()) response.result(http::status::service_unavailable);
    response.body() = ready.ok() ? "ready\n" : fmt::format("not ready: {}\n", MessageOf(ready));
  } else {
    response.result(http::status::not_found);
    response.body() = "there is /metrics, /healthz and /readyz\n";
  }
}

// One connection, one request. Keeps itself alive through its handlers.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(asio::ip::tcp::socket socket, Shared& shared) : stream_(std::move(socket)), shared_(shared) {
    ++shared_.connections;
  }
  ~Session() { --shared_.connections; }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void Run() {
    stream_.expires_after(absl::ToChronoMilliseconds(kMetricsRequestTimeout));
    parser_.header_limit(kMaxHeaderBytes);
    parser_.body_limit(0);
    http::async_read(stream_, buffer_, parser_,
                     [self = shared_from_this()](error_code error, size_t) { self->OnRequest(error); });
  }

 private:
  void OnRequest(error_code error) {
    if (error == http::error::end_of_stream || error == beast::error::timeout) return;
    response_.version(11);
    response_.keep_alive(false);
    if (error) {
      response_.result(http::status::bad_request);
    } else if (parser_.get().method() != http::verb::get && parser_.get().method() != http::verb::head) {
      response_.result(http::status::method_not_allowed);
      response_.set(http::field::allow, "GET, HEAD");
    } else {
      const std::string_view target(parser_.get().target().data(), parser_.get().target().size());
      response_.result(http::status::ok);
      Answer(shared_, target.substr(0, target.find('?')), response_);
    }
    response_.content_length(response_.body().size());
    if (!error && parser_.get().method() == http::verb::head) response_.body().clear();
    http::async_write(stream_, response_, [self = shared_from_this()](error_code, size_t) {
      error_code ignored;  // the peer may have gone: the answer was sent, nothing more is owed
      self->stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    });
  }

  beast::tcp_stream stream_;
  Shared& shared_;
  beast::flat_buffer buffer_{kMaxHeaderBytes};
  http::request_parser<http::empty_body> parser_;
  Response response_;
};

absl::StatusOr<asio::ip::tcp::endpoint> Resolve(asio::io_context& context, const std::string& listen) {
  const size_t colon = listen.rfind(':');
  std::string host = listen.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  error_code error;
  const auto found = asio::ip::tcp::resolver(context).resolve(
      host, colon == std::string::npos ? "" : listen.substr(colon + 1), asio::ip::tcp::resolver::passive, error);
  if (!error && colon != std::string::npos && !found.empty()) return found.begin()->endpoint();
  return absl::InvalidArgumentError(fmt::format("can't resolve {}: write host:port", Printable(listen)));
}

absl::Status Listen(asio::ip::tcp::acceptor& acceptor, const asio::ip::tcp::endpoint& endpoint,
                    const std::string& listen) {
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(kMaxMetricsConnections, error);
  if (!error) return absl::OkStatus();
  return absl::InternalError(fmt::format("can't listen on {} for metrics: {}", listen, error.message()));
}

}  // namespace

class MetricsServer::Server {
 public:
  Server(std::shared_ptr<prometheus::Collectable> metrics, Readiness readiness)
      : shared_{.metrics = std::move(metrics), .readiness = std::move(readiness)} {}

  ~Server() {
    context_.stop();
    if (thread_.joinable()) thread_.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  absl::Status Open(const std::string& listen) {
    ASSIGN_OR_RETURN(const asio::ip::tcp::endpoint endpoint, Resolve(context_, listen));
    RETURN_IF_ERROR(Listen(acceptor_, endpoint, listen));
    port_ = acceptor_.local_endpoint().port();
    Accept();
    thread_ = std::thread([this] { context_.run(); });
    return absl::OkStatus();
  }

  int port() const { return port_; }

 private:
  void Accept() {
    acceptor_.async_accept([this](error_code error, asio::ip::tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) return AcceptLater();
      if (shared_.connections < kMaxMetricsConnections) std::make_shared<Session>(std::move(socket), shared_)->Run();
      Accept();
    });
  }
  // When descriptors run out, accepting at once would only spin.
  void AcceptLater() {
    retry_.expires_after(std::chrono::milliseconds(100));
    retry_.async_wait([this](error_code error) {
      if (!error) Accept();
    });
  }

  // Sessions live in handlers that the context holds, and refer to this: so it goes after the context.
  Shared shared_;
  asio::io_context context_{1};
  asio::ip::tcp::acceptor acceptor_{context_};
  asio::steady_timer retry_{context_};
  int port_ = 0;
  std::thread thread_;
};

std::shared_ptr<prometheus::Registry> MakeRegistry(const std::string& program, const std::string& version) {
  auto registry = std::make_shared<prometheus::Registry>();
  prometheus::BuildGauge()
      .Name("understudy_build_info")
      .Help("Which program this is, and its version; the value is always 1.")
      .Register(*registry)
      .Add({{"program", program}, {"version", version}})
      .Set(1);
  return registry;
}

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& listen,
                                                                    std::shared_ptr<prometheus::Collectable> metrics,
                                                                    Readiness readiness) {
  auto server = std::make_unique<Server>(std::move(metrics), std::move(readiness));
  RETURN_IF_ERROR(server->Open(listen));
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(server)));
}

MetricsServer::MetricsServer(std::unique_ptr<Server> server) : server_(std::move(server)) {}

MetricsServer::~MetricsServer() = default;

int MetricsServer::port() const {
  return server_->port();
}

}  // namespace understudy::telemetry
