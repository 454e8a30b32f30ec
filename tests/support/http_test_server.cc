#include "tests/support/http_test_server.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/synchronization/mutex.h"

namespace understudy::tests {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

// A connection, plain or with TLS over it. Used by its own thread, but for the socket, which others may shut down.
class Connection {
 public:
  Connection(asio::io_context& context, asio::ssl::context* tls) : socket_(context), tls_context_(tls) {}

  tcp::socket& Socket() { return socket_; }
  bool Handshake() {
    if (tls_context_ == nullptr) return true;
    tls_.emplace(socket_, *tls_context_);
    boost::system::error_code error;
    tls_->handshake(asio::ssl::stream_base::server, error);
    return !error;
  }
  // `action` gets the stream to read from and write to.
  template <typename Action>
  auto With(Action action) {
    return tls_ ? action(*tls_) : action(socket_);
  }
  void Shutdown() { shutdown(socket_.native_handle(), SHUT_RDWR); }

 private:
  tcp::socket socket_;
  asio::ssl::context* const tls_context_;
  std::optional<asio::ssl::stream<tcp::socket&>> tls_;
};

class SocketReply : public TestReply {
 public:
  explicit SocketReply(Connection& connection) : connection_(connection) {}

  void Send(int status, std::string_view body, const std::map<std::string, std::string>& headers) override {
    SendPart(status, body.size(), body, headers);
  }
  void Begin(int status) override {
    Write(fmt::format("HTTP/1.1 {} Status\r\nTransfer-Encoding: chunked\r\n\r\n", status));
    chunked_ = true;
  }
  bool Chunk(std::string_view data) override { return Write(fmt::format("{:x}\r\n{}\r\n", data.size(), data)); }
  void BreakOffAfter(int status, size_t length, std::string_view part,
                     const std::map<std::string, std::string>& headers) override {
    SendPart(status, length, part, headers);
    open_ = false;
  }
  void BreakOff() override { open_ = false; }
  void Hold() override {
    char byte = 0;
    boost::system::error_code error;
    while (connection_.With([&](auto& stream) { return stream.read_some(asio::buffer(&byte, 1), error); }) > 0) {
    }
    open_ = false;
  }
  // Whether the connection can take another request.
  bool Finish() {
    if (open_ && chunked_) Write("0\r\n\r\n");
    return open_;
  }

 private:
  void SendPart(int status, size_t length, std::string_view part, const std::map<std::string, std::string>& headers) {
    std::string text = fmt::format("HTTP/1.1 {} Status\r\nContent-Length: {}\r\n", status, length);
    for (const auto& [name, value] : headers) text += fmt::format("{}: {}\r\n", name, value);
    Write(fmt::format("{}\r\n{}", text, part));
  }
  bool Write(const std::string& text) {
    boost::system::error_code error;
    connection_.With([&](auto& stream) { return asio::write(stream, asio::buffer(text), error); });
    if (error) open_ = false;
    return open_;
  }

  Connection& connection_;
  bool open_ = true;
  bool chunked_ = false;
};

std::unique_ptr<asio::ssl::context> ContextOf(const HttpTestServer::Tls& tls) {
  auto context = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  context->use_certificate_chain_file(tls.certificate_file);
  context->use_private_key_file(tls.key_file, asio::ssl::context::pem);
  return context;
}

}  // namespace

class HttpTestServer::State {
 public:
  State(Handler handler, std::unique_ptr<asio::ssl::context> tls)
      : handler_(std::move(handler)),
        tls_(std::move(tls)),
        acceptor_(context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        port_(acceptor_.local_endpoint().port()),
        accepting_([this] { Accept(); }) {}

  ~State() {
    {
      absl::MutexLock lock(&mutex_);
      ended_ = true;
      shutdown(acceptor_.native_handle(), SHUT_RDWR);
      for (const std::shared_ptr<Connection>& connection : open_) connection->Shutdown();
    }
    accepting_.join();
    for (std::thread& thread : threads_) thread.join();
  }

  [[nodiscard]] std::string Url() const {
    return fmt::format("{}://127.0.0.1:{}", tls_ == nullptr ? "http" : "https", port_);
  }
  void CutConnections() {
    absl::MutexLock lock(&mutex_);
    for (const std::shared_ptr<Connection>& connection : open_) connection->Shutdown();
  }
  [[nodiscard]] std::vector<TestRequest> Requests() const {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }
  [[nodiscard]] int Connections() const {
    absl::MutexLock lock(&mutex_);
    return connections_;
  }

 private:
  void Accept() {
    while (true) {
      boost::system::error_code error;
      auto connection = std::make_shared<Connection>(context_, tls_.get());
      acceptor_.accept(connection->Socket(), error);
      absl::MutexLock lock(&mutex_);
      if (ended_ || error) return;
      ++connections_;
      open_.push_back(connection);
      threads_.emplace_back([this, connection] { Serve(*connection); });
    }
  }

  void Serve(Connection& connection) {
    boost::beast::flat_buffer buffer;
    bool more = connection.Handshake();
    while (more) {
      boost::system::error_code error;
      http::request<http::string_body> request;
      connection.With([&](auto& stream) { return http::read(stream, buffer, request, error); });
      if (error) break;
      TestRequest seen{.method = std::string(request.method_string()),
                       .target = std::string(request.target()),
                       .headers = {},
                       .body = request.body()};
      for (const auto& field : request) {
        seen.headers[absl::AsciiStrToLower(std::string(field.name_string()))] = std::string(field.value());
      }
      {
        absl::MutexLock lock(&mutex_);
        requests_.push_back(seen);
      }
      SocketReply reply(connection);
      handler_(seen, reply);
      more = reply.Finish();
    }
    // Closed with the object; until then its number can't stand for another connection.
    connection.Shutdown();
  }

  const Handler handler_;
  const std::unique_ptr<asio::ssl::context> tls_;
  asio::io_context context_;
  tcp::acceptor acceptor_;
  const int port_;
  mutable absl::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  int connections_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<TestRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Connection>> open_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;  // of the accepting thread, then of the destructor
  std::thread accepting_;
};

HttpTestServer::HttpTestServer(Handler handler) : state_(std::make_unique<State>(std::move(handler), nullptr)) {}
HttpTestServer::HttpTestServer(Handler handler, const Tls& tls)
    : state_(std::make_unique<State>(std::move(handler), ContextOf(tls))) {}
HttpTestServer::~HttpTestServer() = default;

std::string HttpTestServer::Url() const {
  return state_->Url();
}
void HttpTestServer::CutConnections() {
  state_->CutConnections();
}
std::vector<TestRequest> HttpTestServer::Requests() const {
  return state_->Requests();
}
int HttpTestServer::Connections() const {
  return state_->Connections();
}

}  // namespace understudy::tests
