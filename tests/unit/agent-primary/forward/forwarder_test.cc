// Forwarding to real HTTP receivers that answer well, badly, late or not at all.
#include "agent-primary/forward/forwarder.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <optional>
#include <thread>

#include "absl/time/clock.h"
#include "core/net/http_server.h"
#include "nlohmann/json.hpp"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy::primary {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

model::ObjectEvent Event(int number, size_t padding = 0) {
  const json object = {{"metadata", {{"name", "pv"}, {"managedFields", json::array({1})}}},
                       {"spec", {{"padding", std::string(padding, 'x')}}},
                       {"status", {{"phase", "Bound"}}}};
  return {.type = model::EventType::kModified,
          .key = {model::ObjectKind::kPersistentVolume, "", "pv"},
          .resource = object.dump(),
          .event_id = fmt::format("e{}", number),
          .observed_at = absl::FromUnixSeconds(1'700'000'000)};
}

// An EDA webhook as the test wants it.
class Receiver {
 public:
  using Answer = std::function<net::HttpServer::Response(const std::string& event_id, int nth_request)>;

  explicit Receiver(
      Answer answer = [](const std::string&, int) { return net::HttpServer::Response{}; }, int port = 0) {
    net::HttpServerOptions options;
    options.listen = fmt::format("127.0.0.1:{}", port);
    options.max_body_bytes = size_t{4} << 20;
    auto server =
        net::HttpServer::Start(options, [this, answer = std::move(answer)](const net::HttpServer::Request& request) {
          absl::MutexLock lock(&mutex_);
          requests_.push_back(request);
          return answer(json::parse(request.body).at("event_id"), static_cast<int>(requests_.size()));
        });
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::string Url() const { return fmt::format("http://127.0.0.1:{}/endpoint", server_->port()); }
  int port() const { return server_->port(); }
  std::vector<net::HttpServer::Request> Requests() const {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }
  std::vector<std::string> Ids() const {
    std::vector<std::string> ids;
    for (const net::HttpServer::Request& request : Requests()) ids.push_back(json::parse(request.body).at("event_id"));
    return ids;
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<net::HttpServer::Request> requests_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<net::HttpServer> server_;
};

class ForwarderTest : public ::testing::Test {
 protected:
  void TearDown() override { Stop(); }
  void Start(const std::vector<ForwarderTarget>& targets, bool run = true) {
    options_.retry_first = absl::Milliseconds(1);
    options_.retry_longest = absl::Milliseconds(5);
    auto forwarder = Forwarder::Open(dir_.File("forward.db"), targets, options_, [this](const ForwardResult& result) {
      absl::MutexLock lock(&mutex_);
      results_.push_back(fmt::format("{} {} {} {}", result.event_id, result.target,
                                     result.delivered ? "delivered" : "failed", result.left));
    });
    ASSERT_TRUE(forwarder.ok()) << forwarder.status();
    forwarder_ = *std::move(forwarder);
    if (run) thread_ = std::jthread([this](std::stop_token stop) { forwarder_->Run(stop); });
  }
  void Stop() {
    thread_ = {};
    forwarder_.reset();
  }
  void Enqueue(const model::ObjectEvent& event) {
    ASSERT_TRUE(forwarder_->Enqueue(event, store::Durability::kFull).ok());
  }
  void ExpectStatus(const std::string& what, const std::function<bool(const ForwardTargetStatus&)>& holds) {
    const absl::Status status =
        tests::WaitFor(what, absl::Seconds(30), [&] { return holds(forwarder_->Status().at(0)); });
    EXPECT_TRUE(status.ok()) << status << " " << forwarder_->Status().at(0).error;
  }
  std::vector<std::string> Results() const {
    absl::MutexLock lock(&mutex_);
    return results_;
  }

  tests::TempDir dir_;
  ForwarderOptions options_;
  mutable absl::Mutex mutex_;
  std::vector<std::string> results_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Forwarder> forwarder_;
  std::jthread thread_;
};

TEST_F(ForwarderTest, PostsTheUnifiedFormSignedAndInOrder) {
  std::ofstream(dir_.File("token")) << "t0ken";
  std::ofstream(dir_.File("secret")) << "s3cret";
  const Receiver eda;
  Start({{.name = "eda", .url = eda.Url(), .token_file = dir_.File("token"), .hmac_secret_file = dir_.File("secret")}});
  for (int i = 0; i < 20; ++i) Enqueue(Event(i));
  ExpectStatus("all delivered", [](const auto& status) { return status.delivered == 20 && status.queued == 0; });
  const auto requests = eda.Requests();
  ASSERT_EQ(requests.size(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(eda.Ids()[static_cast<size_t>(i)], fmt::format("e{}", i));
  EXPECT_EQ(requests[0].method, "POST");
  EXPECT_EQ(requests[0].target, "/endpoint");
  EXPECT_EQ(requests[0].headers.at("authorization"), "Bearer t0ken");
  EXPECT_EQ(requests[0].headers.at("content-type"), "application/json");
  EXPECT_EQ(requests[0].headers.at("x-hub-signature-256"), net::HubSignature("s3cret", requests[0].body));
  EXPECT_EQ(requests[0].body.find("managedFields"), std::string::npos);
  EXPECT_EQ(json::parse(requests[0].body)["observed_at"], "2023-11-14T22:13:20+00:00");
}

TEST_F(ForwarderTest, WhatWasQueuedIsPostedAfterARestart) {
  Start({{.name = "eda", .url = "http://127.0.0.1:1/"}}, /*run=*/false);
  Enqueue(Event(1));
  Enqueue(Event(2));
  Enqueue(Event(1));  // waits already
  Stop();
  const Receiver eda;
  Start({{.name = "eda", .url = eda.Url()}});
  ExpectStatus("both delivered", [](const auto& status) { return status.delivered == 2; });
  EXPECT_THAT(eda.Ids(), ElementsAre("e1", "e2"));
}

TEST_F(ForwarderTest, ATargetThatIsAwayGetsItAllWhenItComesBack) {
  auto eda = std::make_unique<Receiver>();
  const int port = eda->port();
  const std::string url = eda->Url();
  eda.reset();
  Start({{.name = "eda", .url = url}});
  Enqueue(Event(1));
  Enqueue(Event(2));
  ExpectStatus("a failure", [](const auto& status) { return status.failures > 2 && !status.error.empty(); });
  EXPECT_EQ(forwarder_->Status().at(0).queued, 2u);
  eda = std::make_unique<Receiver>([](const std::string&, int) { return net::HttpServer::Response{}; }, port);
  ExpectStatus("both delivered", [](const auto& status) { return status.delivered == 2 && status.error.empty(); });
  EXPECT_THAT(eda->Ids(), ElementsAre("e1", "e2"));
}

TEST_F(ForwarderTest, TroubleOfTheMomentIsTriedAgainAndRetryAfterIsKept) {
  const Receiver eda([](const std::string&, int nth) {
    net::HttpServer::Response response;
    constexpr int kTrouble[] = {500, 503, 404, 405, 408, 401, 403, 429};
    if (nth <= 8) response.status = kTrouble[nth - 1];
    if (nth == 8) response.headers.emplace_back("Retry-After", "1");
    return response;
  });
  Start({{.name = "eda", .url = eda.Url()}});
  const absl::Time begin = absl::Now();
  Enqueue(Event(1));
  ExpectStatus("the delivery", [](const auto& status) { return status.delivered == 1; });
  EXPECT_GE(absl::Now() - begin, absl::Seconds(1));
  EXPECT_EQ(forwarder_->Status().at(0).failures, 8u);
  EXPECT_EQ(forwarder_->Status().at(0).refused, 0u);
}

TEST_F(ForwarderTest, APoisonedEventDoesNotHoldUpTheOthers) {
  const Receiver eda([](const std::string& event_id, int) {
    return net::HttpServer::Response{.status = event_id == "e2" ? 400 : 200, .body = "can't read it"};
  });
  Start({{.name = "eda", .url = eda.Url()}});
  for (int i = 1; i <= 3; ++i) Enqueue(Event(i));
  ExpectStatus("the others", [](const auto& status) { return status.delivered == 2 && status.refused == 1; });
  EXPECT_THAT(eda.Ids(), ElementsAre("e1", "e2", "e2", "e2", "e3"));
  EXPECT_THAT(Results(), ElementsAre("e1 eda delivered 0", "e2 eda failed 0", "e3 eda delivered 0"));
}

TEST_F(ForwarderTest, OneTargetDoesNotWaitForAnother) {
  const Receiver good;
  Start({{.name = "away", .url = "http://127.0.0.1:1/"}, {.name = "good", .url = good.Url()}});
  Enqueue(Event(1));
  const absl::Status delivered =
      tests::WaitFor("the good one", absl::Seconds(30), [&] { return forwarder_->Status().at(1).delivered == 1; });
  EXPECT_TRUE(delivered.ok()) << delivered;
  EXPECT_EQ(forwarder_->Status().at(0).queued, 1u);
  EXPECT_THAT(Results(), ElementsAre("e1 good delivered 1"));
}

TEST_F(ForwarderTest, AFullQueueLosesItsOldestAndCountsThem) {
  options_.queue.max_events = 3;
  Start({{.name = "eda", .url = "http://127.0.0.1:1/"}}, /*run=*/false);
  for (int i = 1; i <= 5; ++i) Enqueue(Event(i));
  EXPECT_EQ(forwarder_->Status().at(0).queued, 3u);
  EXPECT_EQ(forwarder_->Status().at(0).dropped, 2u);
  EXPECT_THAT(Results(), ElementsAre("e1 eda failed 0", "e2 eda failed 0"));
  Stop();
  options_.queue = {.max_events = 100, .max_bytes = 1000};
  Start({{.name = "eda", .url = "http://127.0.0.1:1/"}}, /*run=*/false);
  Enqueue(Event(6, 2500));
  EXPECT_EQ(forwarder_->Status().at(0).queued, 1u) << "bytes count, too";
}

TEST_F(ForwarderTest, WhatIsTooLargeForTheTargetSaysThatItWasCut) {
  const Receiver eda;
  Start({{.name = "eda", .url = eda.Url()}});
  Enqueue(Event(1, size_t{2} << 20));
  ExpectStatus("the delivery", [](const auto& status) { return status.delivered == 1; });
  const json body = json::parse(eda.Requests().at(0).body);
  EXPECT_LE(eda.Requests().at(0).body.size(), kMaxForwardBytes);
  EXPECT_EQ(body["truncated"], true);
  EXPECT_EQ(body["resource"]["status"]["phase"], "Bound");
}

TEST_F(ForwarderTest, AMissingTokenHoldsTheEventsBack) {
  const Receiver eda;
  Start({{.name = "eda", .url = eda.Url(), .token_file = dir_.File("token")}});
  Enqueue(Event(1));
  ExpectStatus("the reason", [](const auto& status) { return !status.error.empty(); });
  EXPECT_THAT(forwarder_->Status().at(0).error, HasSubstr("can't use secret file"));
  std::ofstream(dir_.File("token")) << "t";
  ExpectStatus("the delivery", [](const auto& status) { return status.delivered == 1; });
}

TEST_F(ForwarderTest, WhatWaitsForATargetThatIsNoLongerConfiguredIsForgotten) {
  Start({{.name = "old", .url = "http://127.0.0.1:1/"}}, /*run=*/false);
  Enqueue(Event(1));
  Stop();
  Start({{.name = "new", .url = "http://127.0.0.1:1/"}}, /*run=*/false);
  Stop();
  Start({{.name = "old", .url = "http://127.0.0.1:1/"}}, /*run=*/false);
  EXPECT_EQ(forwarder_->Status().at(0).queued, 0u);
}

}  // namespace
}  // namespace understudy::primary
