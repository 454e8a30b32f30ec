#include "core/net/http_client.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "core/base/clock.h"
#include "tests/support/http_test_server.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace understudy::net {
namespace {

using tests::HttpTestServer;
using tests::TestReply;
using tests::TestRequest;

HttpRequest RequestTo(const std::string& url) {
  HttpRequest request;
  request.url = url;
  return request;
}

TEST(HttpClientTest, SendsMethodHeadersBodyAndTokenAndReturnsTheAnswer) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) {
    reply.Send(418, "short and stout", {{"Retry-After", " 7 "}});
  });
  HttpRequest request = RequestTo(server.Url() + "/pot?full=yes");
  request.method = "PATCH";
  request.headers = {{"Content-Type", "text/tea"}};
  request.body = std::string("leaf\0water", 10);
  request.bearer_token = "sesame";
  const auto response = HttpClient({}).Send(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->status, 418);
  EXPECT_EQ(response->body, "short and stout");
  EXPECT_EQ(response->headers.at("retry-after"), "7");
  const TestRequest seen = server.Requests().at(0);
  EXPECT_EQ(seen.method, "PATCH");
  EXPECT_EQ(seen.target, "/pot?full=yes");
  EXPECT_EQ(seen.headers.at("content-type"), "text/tea");
  EXPECT_EQ(seen.headers.at("authorization"), "Bearer sesame");
  EXPECT_EQ(seen.body, request.body);
}

TEST(HttpClientTest, UsesAConnectionAgain) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, "x"); });
  const HttpClient client({});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(client.Send(RequestTo(server.Url())).ok());
  EXPECT_EQ(server.Connections(), 1);
}

TEST(HttpClientTest, AServerThatIsNotThereIsUnavailableAndNamed) {
  const std::string url = "http://127.0.0.1:" + std::to_string(tests::FreePort()) + "/version";
  const absl::Status status = HttpClient({}).Send(RequestTo(url)).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_NE(MessageOf(status).find(url), std::string_view::npos) << status;
}

TEST(HttpClientTest, AConnectionBrokenOffInTheBodyIsUnavailable) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) {
    reply.Begin(200);
    reply.Chunk("half of");
    reply.BreakOff();
  });
  EXPECT_TRUE(absl::IsUnavailable(HttpClient({}).Send(RequestTo(server.Url())).status()));
}

TEST(HttpClientTest, ASilentServerEndsInTheSilenceTimeout) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Hold(); });
  HttpRequest request = RequestTo(server.Url());
  request.silence_timeout = absl::Milliseconds(200);
  EXPECT_TRUE(absl::IsDeadlineExceeded(HttpClient({}).Send(request).status()));
}

TEST(HttpClientTest, AServerThatTricklesIsHeldToTheTotalTimeoutOnly) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) {
    reply.Begin(200);
    while (reply.Chunk("drip")) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  HttpRequest request = RequestTo(server.Url());
  request.silence_timeout = absl::Seconds(30);
  request.total_timeout = absl::Milliseconds(500);
  const absl::Status status = HttpClient({}).Send(request).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
}

TEST(HttpClientTest, ABodyOverItsLimitIsRefused) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, std::string(2000, 'x')); });
  HttpRequest request = RequestTo(server.Url());
  request.max_response_bytes = 2000;
  EXPECT_TRUE(HttpClient({}).Send(request).ok());
  request.max_response_bytes = 1999;
  EXPECT_TRUE(absl::IsResourceExhausted(HttpClient({}).Send(request).status()));
}

TEST(HttpClientTest, AStreamHandsOverChunksAsTheyComeAndStopsAtOnce) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) {
    reply.Begin(200);
    reply.Chunk("first");
    reply.Hold();
  });
  std::stop_source source;
  std::string seen;
  absl::Duration stopped_at;
  HttpRequest request = RequestTo(server.Url());
  request.silence_timeout = absl::InfiniteDuration();
  const auto on_chunk = [&](const HttpResponse& head, std::string_view chunk) {
    EXPECT_EQ(head.status, 200);
    seen += chunk;
    if (!chunk.empty()) {
      // From another thread, once this one waits for more.
      std::thread([&] {
        stopped_at = Clock::System().Monotonic();
        source.request_stop();
      }).detach();
    }
    return absl::OkStatus();
  };
  const absl::Status status = HttpClient({}).Stream(request, source.get_token(), on_chunk).status();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(seen, "first");
  EXPECT_LT(Clock::System().Monotonic() - stopped_at, absl::Milliseconds(900));
}

TEST(HttpClientTest, AnErrorOfTheConsumerEndsTheStream) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) {
    reply.Begin(200);
    while (reply.Chunk("more")) {
    }
  });
  const auto refuse = [](const HttpResponse&, std::string_view chunk) {
    return chunk.empty() ? absl::OkStatus() : absl::DataLossError("not what was asked for");
  };
  const absl::Status status = HttpClient({}).Stream(RequestTo(server.Url()), {}, refuse).status();
  EXPECT_EQ(status, absl::DataLossError("not what was asked for"));
}

TEST(HttpClientTest, AMissingCaFileIsAnErrorThatNamesIt) {
  const tests::TempDir folder;
  HttpTls tls;
  tls.ca_file = folder.File("nowhere.crt");
  HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, ""); });
  std::string url = server.Url();
  url.replace(0, 4, "https");
  const absl::Status status = HttpClient(tls).Send(RequestTo(url)).status();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(MessageOf(status).find("nowhere.crt"), std::string_view::npos) << status;
}

}  // namespace
}  // namespace understudy::net
