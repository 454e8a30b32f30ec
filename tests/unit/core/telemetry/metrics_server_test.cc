// The metrics server over real sockets.
#include "core/telemetry/metrics_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "absl/synchronization/mutex.h"

namespace understudy::telemetry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

int Connect(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

// Everything that the server says until it closes.
std::string ReadAll(int fd) {
  std::string answer;
  char bytes[4096];
  for (ssize_t length = 0; (length = read(fd, bytes, sizeof(bytes))) > 0;)
    answer.append(bytes, static_cast<size_t>(length));
  close(fd);
  return answer;
}

class MetricsServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = MetricsServer::Start("127.0.0.1:0", MakeRegistry("understudy-test", "1.2.3"), [this] {
      const absl::MutexLock lock(&mutex_);
      return readiness_;
    });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::string Request(const std::string& text) const {
    const int fd = Connect(server_->port());
    EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    return ReadAll(fd);
  }
  std::string Get(const std::string& path) const {
    return Request(fmt::format("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path));
  }

  absl::Mutex mutex_;
  absl::Status readiness_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsServerTest, MetricsAreServed) {
  EXPECT_THAT(Get("/metrics"),
              AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("text/plain; version=0.0.4"),
                    HasSubstr("understudy_build_info{program=\"understudy-test\",version=\"1.2.3\"} 1")));
}

TEST_F(MetricsServerTest, ReadinessSaysWhyNot) {
  EXPECT_THAT(Get("/readyz"), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("ready")));
  {
    const absl::MutexLock lock(&mutex_);
    readiness_ = absl::UnavailableError("no connection to DR");
  }
  EXPECT_THAT(Get("/readyz"), AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("not ready: no connection to DR")));
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(MetricsServerTest, OtherPathsAndMethodsAreRefused) {
  EXPECT_THAT(Get("/etc/passwd"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Request("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Request("nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Request("GET /healthz HTTP/1.1\r\nX: " + std::string(100000, 'x') + "\r\n\r\n"),
              Not(HasSubstr("200 OK")));
}

TEST_F(MetricsServerTest, HeadHasNoBody) {
  EXPECT_THAT(Request("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 200"), Not(HasSubstr("ok\n"))));
}

TEST_F(MetricsServerTest, TooManyConnectionsDoNotBlockTheNext) {
  std::vector<int> idle;
  for (int i = 0; i < kMaxMetricsConnections; ++i) idle.push_back(Connect(server_->port()));
  EXPECT_THAT(ReadAll(Connect(server_->port())), IsEmpty());
  for (const int fd : idle) {
    EXPECT_EQ(write(fd, "GET /healthz HTTP/1.0\r\n\r\n", 25), 25);
    EXPECT_THAT(ReadAll(fd), HasSubstr("200 OK"));
  }
  EXPECT_THAT(Get("/healthz"), HasSubstr("200 OK"));
}

TEST_F(MetricsServerTest, ATakenPortIsAnError) {
  const auto second = MetricsServer::Start(fmt::format("127.0.0.1:{}", server_->port()), MakeRegistry("x", "1"),
                                           [] { return absl::OkStatus(); });
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(MessageOf(second.status())), HasSubstr("Address already in use"));
}

}  // namespace
}  // namespace understudy::telemetry
