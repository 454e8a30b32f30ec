#include "tests/support/http_test_server.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/synchronization/mutex.h"

namespace understudy::tests {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

class SocketReply : public TestReply {
 public:
  explicit SocketReply(tcp::socket& socket) : socket_(socket) {}

  void Send(int status, std::string_view body, const std::map<std::string, std::string>& headers) override {
    std::string text = fmt::format("HTTP/1.1 {} Status\r\nContent-Length: {}\r\n", status, body.size());
    for (const auto& [name, value] : headers) text += fmt::format("{}: {}\r\n", name, value);
    Write(fmt::format("{}\r\n{}", text, body));
  }
  void Begin(int status) override {
    Write(fmt::format("HTTP/1.1 {} Status\r\nTransfer-Encoding: chunked\r\n\r\n", status));
    chunked_ = true;
  }
  bool Chunk(std::string_view data) override { return Write(fmt::format("{:x}\r\n{}\r\n", data.size(), data)); }
  void BreakOff() override { open_ = false; }
  void Hold() override {
    char byte = 0;
    boost::system::error_code error;
    while (socket_.read_some(asio::buffer(&byte, 1), error) > 0) {
    }
    open_ = false;
  }
  // Whether the connection can take another request.
  bool Finish() {
    if (open_ && chunked_) Write("0\r\n\r\n");
    return open_;
  }

 private:
  bool Write(const std::string& text) {
    boost::system::error_code error;
    asio::write(socket_, asio::buffer(text), error);
    if (error) open_ = false;
    return open_;
  }

  tcp::socket& socket_;
  bool open_ = true;
  bool chunked_ = false;
};

}  // namespace

class HttpTestServer::State {
 public:
  explicit State(Handler handler)
      : handler_(std::move(handler)),
        acceptor_(context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        port_(acceptor_.local_endpoint().port()),
        accepting_([this] { Accept(); }) {}

  ~State() {
    {
      absl::MutexLock lock(&mutex_);
      ended_ = true;
      shutdown(acceptor_.native_handle(), SHUT_RDWR);
      for (const std::shared_ptr<tcp::socket>& socket : sockets_) shutdown(socket->native_handle(), SHUT_RDWR);
    }
    accepting_.join();
    for (std::thread& thread : threads_) thread.join();
  }

  [[nodiscard]] int Port() const { return port_; }
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
      auto socket = std::make_shared<tcp::socket>(context_);
      acceptor_.accept(*socket, error);
      absl::MutexLock lock(&mutex_);
      if (ended_ || error) return;
      ++connections_;
      sockets_.push_back(socket);
      threads_.emplace_back([this, socket] { Serve(*socket); });
    }
  }

  void Serve(tcp::socket& socket) {
    boost::beast::flat_buffer buffer;
    bool more = true;
    while (more) {
      boost::system::error_code error;
      http::request<http::string_body> request;
      http::read(socket, buffer, request, error);
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
      SocketReply reply(socket);
      handler_(seen, reply);
      more = reply.Finish();
    }
    // Closed with the object; until then its number can't stand for another connection.
    shutdown(socket.native_handle(), SHUT_RDWR);
  }

  const Handler handler_;
  asio::io_context context_;
  tcp::acceptor acceptor_;
  const int port_;
  mutable absl::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  int connections_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<TestRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<tcp::socket>> sockets_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;  // of the accepting thread, then of the destructor
  std::thread accepting_;
};

HttpTestServer::HttpTestServer(Handler handler) : state_(std::make_unique<State>(std::move(handler))) {}
HttpTestServer::~HttpTestServer() = default;

std::string HttpTestServer::Url() const {
  return fmt::format("http://127.0.0.1:{}", state_->Port());
}
std::vector<TestRequest> HttpTestServer::Requests() const {
  return state_->Requests();
}
int HttpTestServer::Connections() const {
  return state_->Connections();
}

}  // namespace understudy::tests
