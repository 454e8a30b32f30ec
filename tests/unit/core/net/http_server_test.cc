// The HTTP server over real sockets: what it answers, and what a slow, huge or broken peer can't do to it.
#include "core/net/http_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <thread>

#include "core/net/http_client.h"
#include "tests/support/wait.h"

namespace understudy::net {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// A bare TCP connection to the server.
class Peer {
 public:
  explicit Peer(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const timeval patience{.tv_sec = 30, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  ~Peer() { close(fd_); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  bool Send(std::string_view text) {
    return send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  // Everything until the server closes.
  std::string ReadToEnd() {
    std::string all;
    char buffer[4096];
    ssize_t got = 0;
    while ((got = recv(fd_, buffer, sizeof(buffer), 0)) > 0) all.append(buffer, static_cast<size_t>(got));
    return got == 0 ? all : all + "<no end>";
  }
  std::string ReadSome() {
    char buffer[4096];
    const ssize_t got = recv(fd_, buffer, sizeof(buffer), 0);
    return got > 0 ? std::string(buffer, static_cast<size_t>(got)) : std::string();
  }

 private:
  const int fd_;
};

class HttpServerTest : public ::testing::Test {
 protected:
  void Start(HttpServerOptions options = {}) {
    options.listen = "127.0.0.1:0";
    auto server = HttpServer::Start(options, [](const HttpServer::Request& request) {
      return HttpServer::Response{
          .status = request.target == "/none" ? 404 : 200,
          .body = fmt::format("{} {} {} {}", request.method, request.target, request.body.size(),
                              request.headers.contains("x-mine") ? request.headers.at("x-mine") : "-")};
    });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  HttpRequest To(const std::string& path) const {
    HttpRequest request;
    request.url = fmt::format("http://127.0.0.1:{}{}", server_->port(), path);
    return request;
  }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersRequestsOfOneConnectionOneAfterTheOther) {
  Start();
  const HttpClient client({});
  for (int i = 0; i < 3; ++i) {
    HttpRequest request = To("/a/b?c=1");
    request.method = "POST";
    request.body = std::string(100'000, 'x');
    request.headers.emplace_back("X-Mine", "yes");
    const auto response = client.Send(request);
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->status, 200);
    EXPECT_EQ(response->body, "POST /a/b?c=1 100000 yes");
  }
  EXPECT_EQ(client.Send(To("/none"))->status, 404);
}

TEST_F(HttpServerTest, ABodyThatWaitsToBeAskedForIsAskedFor) {
  Start();
  Peer peer(server_->port());
  ASSERT_TRUE(peer.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
  EXPECT_THAT(peer.ReadSome(), StartsWith("HTTP/1.1 100"));
  ASSERT_TRUE(peer.Send("abc"));
  EXPECT_THAT(peer.ReadSome(), HasSubstr("POST / 3 -"));
}

TEST_F(HttpServerTest, WhatIsTooLargeOrNoHttpIsRefused) {
  Start({.listen = "", .tls = std::nullopt, .max_header_bytes = 1024, .max_body_bytes = 1000});
  const HttpClient client({});
  HttpRequest request = To("/");
  request.method = "POST";
  request.body = std::string(1001, 'x');
  const auto too_large = client.Send(request);
  ASSERT_TRUE(too_large.ok()) << too_large.status();
  EXPECT_EQ(too_large->status, 413);
  request.body = std::string(1000, 'x');
  EXPECT_EQ(client.Send(request)->status, 200);
  Peer chunked(server_->port());
  ASSERT_TRUE(chunked.Send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" +
                           std::string(0x800, 'x') + "\r\n0\r\n\r\n"));
  EXPECT_THAT(chunked.ReadSome(), StartsWith("HTTP/1.1 413"));
  Peer header(server_->port());
  ASSERT_TRUE(header.Send("GET / HTTP/1.1\r\nX-Long: " + std::string(2000, 'y') + "\r\n\r\n"));
  EXPECT_THAT(header.ReadToEnd(), StartsWith("HTTP/1.1 431"));
  Peer babble(server_->port());
  ASSERT_TRUE(babble.Send("hello\r\n\r\n"));
  EXPECT_THAT(babble.ReadToEnd(), StartsWith("HTTP/1.1 400"));
}

TEST_F(HttpServerTest, APeerThatTricklesIsCutOffHoweverItTrickles) {
  Start({.listen = "", .tls = std::nullopt, .request_timeout = absl::Seconds(1), .idle_timeout = absl::Seconds(1)});
  Peer half_open(server_->port());
  EXPECT_THAT(half_open.ReadToEnd(), IsEmpty()) << "it never said a word";
  Peer head(server_->port());
  ASSERT_TRUE(head.Send("POST / HT"));
  EXPECT_THAT(head.ReadToEnd(), StartsWith("HTTP/1.1 408"));
  Peer body(server_->port());
  ASSERT_TRUE(body.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"));
  // A byte now and then doesn't buy it more time: the sending fails once the server has closed.
  const absl::Status cut = tests::WaitFor("the server to close", absl::Seconds(30), [&] { return !body.Send("x"); });
  EXPECT_TRUE(cut.ok()) << cut;
  Peer idle(server_->port());
  ASSERT_TRUE(idle.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_THAT(idle.ReadToEnd(), HasSubstr("GET / 0 -")) << "and then nothing";
}

TEST_F(HttpServerTest, ConnectionsAreBounded) {
  Start({.listen = "", .tls = std::nullopt, .max_connections = 2});
  auto one = std::make_unique<Peer>(server_->port());
  Peer two(server_->port());
  for (Peer* const peer : {one.get(), &two}) {
    ASSERT_TRUE(peer->Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    EXPECT_THAT(peer->ReadSome(), StartsWith("HTTP/1.1 200"));
  }
  Peer three(server_->port());
  EXPECT_THAT(three.ReadToEnd(), IsEmpty());
  one.reset();
  const absl::Status served = tests::WaitFor("a free place", absl::Seconds(30), [&] {
    Peer next(server_->port());
    next.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    return next.ReadSome().starts_with("HTTP/1.1 200");
  });
  EXPECT_TRUE(served.ok()) << served;
}

TEST_F(HttpServerTest, ItEndsWhilePeersAreConnected) {
  Start();
  Peer silent(server_->port());
  ASSERT_TRUE(silent.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_THAT(silent.ReadSome(), StartsWith("HTTP/1.1 200"));
  Peer half(server_->port());
  ASSERT_TRUE(half.Send("POST / HTTP/1.1\r\nContent-Le"));
  server_.reset();
  EXPECT_THAT(silent.ReadToEnd(), IsEmpty());
}

TEST(HttpServerStartTest, SaysWhyItCannotListen) {
  const auto handler = [](const HttpServer::Request&) { return HttpServer::Response{}; };
  EXPECT_TRUE(absl::IsInvalidArgument(HttpServer::Start({.listen = "no such host:1"}, handler).status()));
  const auto first = HttpServer::Start({.listen = "127.0.0.1:0"}, handler);
  ASSERT_TRUE(first.ok());
  const auto second = HttpServer::Start({.listen = fmt::format("127.0.0.1:{}", (*first)->port())}, handler);
  EXPECT_TRUE(absl::IsInternal(second.status())) << second.status();
  const auto no_tls =
      HttpServer::Start({.listen = "127.0.0.1:0", .tls = HttpServerTls{"/nowhere.crt", "/nowhere.key"}}, handler);
  EXPECT_TRUE(absl::IsInvalidArgument(no_tls.status())) << no_tls.status();
}

}  // namespace
}  // namespace understudy::net
