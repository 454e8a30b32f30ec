// The webhook over real HTTP, with the event log and the pipeline behind it.
#include "agent-primary/intake/webhook_intake.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "absl/time/clock.h"
#include "agent-primary/intake/event_pipeline.h"
#include "core/kube/event_json.h"
#include "core/net/http_client.h"
#include "core/store/database.h"
#include "nlohmann/json.hpp"
#include "tests/support/http_test_server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy::primary {
namespace {

using model::ObjectKind;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Stands for the action runner.
class RecordingActions : public EventSink {
 public:
  void OnEvent(const model::ObjectEvent& event) override {
    absl::MutexLock lock(&mutex_);
    seen_.push_back(event.event_id);
  }
  void OnSynced(ObjectKind, const std::set<model::ObjectKey>&) override {}
  std::vector<std::string> Seen() const {
    absl::MutexLock lock(&mutex_);
    return seen_;
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<std::string> seen_ ABSL_GUARDED_BY(mutex_);
};

json VolumeBody(const std::string& type, const std::string& name, const std::string& version) {
  return {{"type", type},
          {"kind", "PersistentVolume"},
          {"namespace", nullptr},
          {"name", name},
          {"resource",
           {{"metadata", {{"name", name}, {"uid", "uid-" + name}, {"resourceVersion", version}}},
            {"spec", {{"claimRef", {{"namespace", "shop"}}}}}}}};
}
std::string IdOf(const std::string& type, const std::string& name, const std::string& version) {
  return fmt::format("{}-uid-{}-{}", type, name, version);
}

class WebhookTest : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(dir_.File("token")) << "right\n"; }
  void TearDown() override { Stop(); }

  void Start(const std::string& rules_yaml = "") {
    auto rules = rules_yaml.empty() ? config::BuiltInRules() : *config::ParseRules(rules_yaml, "test");
    rules_.emplace(std::move(rules));
    EventLogOptions log_options = log_options_;
    log_options.retell = retell_;
    auto log = EventLog::Open(dir_.File("events.db"), log_options);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
    recorder_.emplace(*log_, *rules_);
    if (!forward_url_.empty()) {
      auto forwarder = Forwarder::Open(dir_.File("forward.db"), {{.name = "eda", .url = forward_url_}}, {},
                                       [this](const ForwardResult& result) { recorder_->OnForwarded(result); });
      ASSERT_TRUE(forwarder.ok()) << forwarder.status();
      forwarder_ = *std::move(forwarder);
      forwarding_ = std::jthread([this](std::stop_token stop) { forwarder_->Run(stop); });
    }
    actions_.emplace();
    pipeline_.emplace(*log_, *rules_, *actions_, forwarder_.get(), EventPipeline::Options{.retell = retell_});
    if (runs_) thread_ = std::jthread([this](std::stop_token stop) { pipeline_->Run(stop); });
    options_.listen = "127.0.0.1:0";
    options_.token_file = dir_.File("token");
    auto webhook = WebhookIntake::Start(options_, [this](const model::ObjectEvent& event) -> absl::StatusOr<bool> {
      const auto accepted = pipeline_->Accept(event);
      RETURN_IF_ERROR(accepted.status());
      return accepted->repeated;
    });
    ASSERT_TRUE(webhook.ok()) << webhook.status();
    webhook_ = *std::move(webhook);
  }
  // As a killed agent leaves everything.
  void Stop() {
    webhook_.reset();
    thread_ = {};
    forwarding_ = {};
    pipeline_.reset();
    forwarder_.reset();
    log_.reset();
  }

  net::HttpResponse Post(const std::string& body, const std::string& token = "right", const std::string& signature = "",
                         const std::string& method = "POST") {
    net::HttpRequest request;
    request.method = method;
    request.url = fmt::format("http://127.0.0.1:{}/any/path", webhook_->port());
    request.body = body;
    request.bearer_token = token;
    if (!signature.empty()) request.headers.emplace_back("X-Hub-Signature-256", signature);
    const auto response = client_.Send(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.value_or(net::HttpResponse{});
  }
  net::HttpResponse Post(const json& body) { return Post(body.dump()); }
  void ExpectSeen(const std::vector<std::string>& ids) {
    const absl::Status seen =
        tests::WaitFor("the events", absl::Seconds(30), [&] { return actions_->Seen().size() >= ids.size(); });
    EXPECT_TRUE(seen.ok()) << seen;
    EXPECT_EQ(actions_->Seen(), ids);
  }

  tests::TempDir dir_;
  WebhookOptions options_;
  EventLogOptions log_options_;
  bool retell_ = true;
  bool runs_ = true;
  std::string forward_url_;
  net::HttpClient client_{net::HttpTls{}};
  std::optional<RuleSet> rules_;
  std::unique_ptr<EventLog> log_;
  std::optional<OutcomeRecorder> recorder_;
  std::unique_ptr<Forwarder> forwarder_;
  std::optional<RecordingActions> actions_;
  std::optional<EventPipeline> pipeline_;
  std::jthread thread_;
  std::jthread forwarding_;
  std::unique_ptr<WebhookIntake> webhook_;
};

TEST_F(WebhookTest, TakesAnEventOnceAndSaysWhatItIsCalled) {
  Start();
  const net::HttpResponse first = Post(VolumeBody("ADDED", "pv1", "1"));
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(json::parse(first.body), (json{{"event_id", IdOf("ADDED", "pv1", "1")}, {"repeated", false}}));
  const net::HttpResponse again = Post(VolumeBody("ADDED", "pv1", "1"));
  EXPECT_EQ(json::parse(again.body), (json{{"event_id", IdOf("ADDED", "pv1", "1")}, {"repeated", true}}));
  EXPECT_EQ(Post(VolumeBody("MODIFIED", "pv1", "2")).status, 200);
  ExpectSeen({IdOf("ADDED", "pv1", "1"), IdOf("MODIFIED", "pv1", "2")});
  EXPECT_EQ(webhook_->Answers(), (std::map<int, uint64_t>{{200, 3}}));
}

TEST_F(WebhookTest, WhoHasNoTokenIsTurnedAway) {
  Start();
  const std::string body = VolumeBody("ADDED", "pv1", "1").dump();
  for (const char* const token : {"", "wrong", "righ", "right2"}) EXPECT_EQ(Post(body, token).status, 401) << token;
  EXPECT_EQ(Post("not even JSON", "wrong").status, 401);
  EXPECT_EQ(Post(body).status, 200);
  std::ofstream(dir_.File("new")) << "renewed";
  std::filesystem::rename(dir_.File("new"), dir_.File("token"));
  EXPECT_EQ(Post(body, "right").status, 401);
  EXPECT_EQ(Post(body, "renewed").status, 200);
  std::filesystem::remove(dir_.File("token"));
  const net::HttpResponse unknown = Post(body, "renewed");
  EXPECT_EQ(unknown.status, 503);
  EXPECT_EQ(unknown.headers.at("retry-after"), "5");
}

TEST_F(WebhookTest, WhereASecretIsConfiguredTheBodyMustBeSigned) {
  std::ofstream(dir_.File("secret")) << "s3cret";
  options_.hmac_secret_file = dir_.File("secret");
  Start();
  const std::string body = VolumeBody("ADDED", "pv1", "1").dump();
  EXPECT_EQ(Post(body).status, 401);
  EXPECT_EQ(Post(body, "right", net::HubSignature("other", body)).status, 401);
  EXPECT_EQ(Post(body + " ", "right", net::HubSignature("s3cret", body)).status, 401);
  EXPECT_EQ(Post(body, "right", net::HubSignature("s3cret", body)).status, 200);
}

TEST_F(WebhookTest, WhatIsNoEventIsRefusedWithTheReason) {
  options_.max_body_bytes = 2000;
  Start();
  const net::HttpResponse bad = Post(json{{"type", "ADDED"}, {"kind", "Pod"}});
  EXPECT_EQ(bad.status, 400);
  EXPECT_THAT(json::parse(bad.body)["error"].get<std::string>(), HasSubstr("unknown kind 'Pod'"));
  EXPECT_EQ(Post("", "right", "", "GET").status, 405);
  json large = VolumeBody("ADDED", "pv1", "1");
  large["resource"]["spec"]["padding"] = std::string(2000, 'x');
  EXPECT_EQ(Post(large).status, 413);
  EXPECT_THAT(log_->Newest(10)->events, IsEmpty());
}

TEST_F(WebhookTest, OnlyWatchedNamespacesAreTaken) {
  options_.namespaces = {"bank"};
  Start();
  const net::HttpResponse other = Post(VolumeBody("ADDED", "pv1", "1"));
  EXPECT_EQ(other.status, 200);
  EXPECT_TRUE(json::parse(other.body).contains("ignored"));
  EXPECT_THAT(log_->Newest(10)->events, IsEmpty());
}

TEST_F(WebhookTest, AFullLogSaysToComeAgain) {
  log_options_.max_pending = 1;
  Start();
  EXPECT_EQ(Post(VolumeBody("ADDED", "pv1", "1")).status, 200);
  const net::HttpResponse full = Post(VolumeBody("ADDED", "pv2", "2"));
  EXPECT_EQ(full.status, 503);
  EXPECT_EQ(full.headers.at("retry-after"), "5");
}

TEST_F(WebhookTest, WhatWasAnsweredWith200IsDoneAfterARestart) {
  runs_ = false;  // the agent dies before it gets to them
  Start();
  EXPECT_EQ(Post(VolumeBody("ADDED", "pv1", "1")).status, 200);
  EXPECT_EQ(Post(VolumeBody("ADDED", "pv2", "2")).status, 200);
  EXPECT_EQ(Post(VolumeBody("MODIFIED", "pv1", "3")).status, 200);
  EXPECT_THAT(actions_->Seen(), IsEmpty());
  Stop();
  runs_ = true;
  Start();
  ExpectSeen({IdOf("ADDED", "pv1", "1"), IdOf("ADDED", "pv2", "2"), IdOf("MODIFIED", "pv1", "3")});
  EXPECT_TRUE(json::parse(Post(VolumeBody("ADDED", "pv2", "2")).body)["repeated"].get<bool>());
}

TEST_F(WebhookTest, BesideAWatchWhatIsOlderThanTheRestartIsLeftToItsList) {
  runs_ = false;
  retell_ = false;
  Start();
  EXPECT_EQ(Post(VolumeBody("ADDED", "pv1", "1")).status, 200);
  Stop();
  runs_ = true;
  Start();
  EXPECT_EQ(Post(VolumeBody("ADDED", "pv2", "2")).status, 200);
  ExpectSeen({IdOf("ADDED", "pv2", "2")});
  EXPECT_EQ(log_->Newest(10)->events.at(0).outcome, EventOutcome::kIgnored);
}

TEST_F(WebhookTest, TheRulesDecideAndTheLogSaysSo) {
  Start(
      "rules:\n- {name: no-pv2, when: {fields: {metadata.name: pv2}}, do: [ignore]}\n"
      "- {name: rest, do: [sync_volume]}\n");
  EXPECT_EQ(Post(VolumeBody("ADDED", "pv2", "1")).status, 200);
  EXPECT_EQ(Post(VolumeBody("ADDED", "pv1", "2")).status, 200);
  ExpectSeen({IdOf("ADDED", "pv1", "2")});
  recorder_->OnResult(IdOf("ADDED", "pv1", "2"), ActionResult::kDone, "");
  const auto events = log_->Newest(10)->events;
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].rule, "no-pv2");
  EXPECT_EQ(events[0].outcome, EventOutcome::kIgnored);
  EXPECT_EQ(events[1].rule, "rest");
  EXPECT_EQ(events[1].outcome, EventOutcome::kDone);
  model::CatalogEntry entry;
  entry.resource = R"({"metadata":{"name":"pv1"}})";
  EXPECT_FALSE(recorder_->MayDelete(entry)) << "no rule deletes";
}

TEST_F(WebhookTest, AnEventIsForwardedOnceWhateverComesAgain) {
  tests::HttpTestServer eda([](const tests::TestRequest&, tests::TestReply& reply) { reply.Send(200, ""); });
  forward_url_ = eda.Url() + "/endpoint";
  Start();
  EXPECT_EQ(Post(VolumeBody("ADDED", "pv1", "1")).status, 200);
  const auto delivered = [&] { return log_->Newest(10)->events.at(0).forwarding == Forwarding::kDelivered; };
  ASSERT_TRUE(tests::WaitFor("the delivery", absl::Seconds(30), delivered).ok());
  Stop();
  Start();  // tells what stands again
  ExpectSeen({IdOf("ADDED", "pv1", "1")});
  pipeline_->OnEvent(*kube::ParseEventJson(VolumeBody("ADDED", "pv1", "1").dump(), absl::Now()));
  EXPECT_EQ(Post(VolumeBody("MODIFIED", "pv1", "2")).status, 200);
  ASSERT_TRUE(tests::WaitFor("the next delivery", absl::Seconds(30), [&] { return eda.Requests().size() >= 2; }).ok());
  const auto requests = eda.Requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(json::parse(requests[0].body)["event_id"], IdOf("ADDED", "pv1", "1"));
  EXPECT_EQ(json::parse(requests[1].body)["event_id"], IdOf("MODIFIED", "pv1", "2"));
}

TEST_F(WebhookTest, WhatAWatchListsAfterARestartIsNotForwardedAgain) {
  tests::HttpTestServer eda([](const tests::TestRequest&, tests::TestReply& reply) { reply.Send(200, ""); });
  forward_url_ = eda.Url() + "/endpoint";
  const auto tell = [this](const char* type, const char* version) {
    pipeline_->OnEvent(*kube::ParseEventJson(VolumeBody(type, "pv1", version).dump(), absl::Now()));
  };
  Start();
  tell("MODIFIED", "2");
  const auto delivered = [&] { return log_->Newest(10)->events.at(0).forwarding == Forwarding::kDelivered; };
  ASSERT_TRUE(tests::WaitFor("the delivery", absl::Seconds(30), delivered).ok());
  Stop();
  Start();
  tell("ADDED", "2");
  tell("MODIFIED", "3");
  ASSERT_TRUE(tests::WaitFor("the deliveries", absl::Seconds(30), [&] { return eda.Requests().size() >= 2; }).ok());
  EXPECT_EQ(json::parse(eda.Requests()[1].body)["event_id"], IdOf("MODIFIED", "pv1", "3"));
  EXPECT_THAT(actions_->Seen(), ElementsAre(IdOf("ADDED", "pv1", "2"), IdOf("MODIFIED", "pv1", "3")));
}

TEST_F(WebhookTest, WhatCannotBeQueuedIsForwardedWhenTheQueueIsMended) {
  tests::HttpTestServer eda([](const tests::TestRequest&, tests::TestReply& reply) { reply.Send(200, ""); });
  forward_url_ = eda.Url() + "/endpoint";
  Start();
  const auto rename = [this](const char* from, const char* to) {
    auto database = store::Database::Open(dir_.File("forward.db"), {});
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE(database->Execute(fmt::format("ALTER TABLE {} RENAME TO {}", from, to)).ok());
  };
  rename("waiting", "away");
  EXPECT_EQ(Post(VolumeBody("ADDED", "pv1", "1")).status, 200);
  ExpectSeen({IdOf("ADDED", "pv1", "1")});  // what has to be done doesn't wait for it
  EXPECT_TRUE(eda.Requests().empty());
  rename("away", "waiting");
  EXPECT_EQ(Post(VolumeBody("ADDED", "pv2", "2")).status, 200);
  ASSERT_TRUE(tests::WaitFor("the deliveries", absl::Seconds(30), [&] { return eda.Requests().size() >= 2; }).ok());
  EXPECT_EQ(json::parse(eda.Requests()[0].body)["event_id"], IdOf("ADDED", "pv1", "1"));
}

TEST_F(WebhookTest, WhatAWatchToldAndCouldNotBeQueuedNeedsNoFurtherEvent) {
  tests::HttpTestServer eda([](const tests::TestRequest&, tests::TestReply& reply) { reply.Send(200, ""); });
  forward_url_ = eda.Url() + "/endpoint";
  Start();
  auto database = store::Database::Open(dir_.File("forward.db"), {});
  ASSERT_TRUE(database.ok() && database->Execute("ALTER TABLE waiting RENAME TO away").ok());
  pipeline_->OnEvent(*kube::ParseEventJson(VolumeBody("ADDED", "pv1", "1").dump(), absl::Now()));
  EXPECT_TRUE(eda.Requests().empty());
  ASSERT_TRUE(database->Execute("ALTER TABLE away RENAME TO waiting").ok());
  ASSERT_TRUE(tests::WaitFor("the delivery", absl::Seconds(30), [&] { return !eda.Requests().empty(); }).ok());
}

// The agent ends before the queue is mended.
TEST_F(WebhookTest, WhatCouldNotBeQueuedIsForwardedAfterARestart) {
  tests::HttpTestServer eda([](const tests::TestRequest&, tests::TestReply& reply) { reply.Send(200, ""); });
  forward_url_ = eda.Url() + "/endpoint";
  retell_ = false;
  Start();
  {
    auto database = store::Database::Open(dir_.File("forward.db"), {});
    ASSERT_TRUE(database.ok() && database->Execute("ALTER TABLE waiting RENAME TO away").ok());
  }
  const std::string id = IdOf("ADDED", "pv1", "1");
  EXPECT_EQ(Post(VolumeBody("ADDED", "pv1", "1")).status, 200);
  ExpectSeen({id});
  ASSERT_TRUE(log_->SetOutcome(id, EventOutcome::kDone, "").ok());
  Stop();
  {
    auto database = store::Database::Open(dir_.File("forward.db"), {});
    ASSERT_TRUE(database.ok() && database->Execute("ALTER TABLE away RENAME TO waiting").ok());
  }
  Start();
  ASSERT_TRUE(tests::WaitFor("the delivery", absl::Seconds(30), [&] { return !eda.Requests().empty(); }).ok());
  EXPECT_EQ(json::parse(eda.Requests()[0].body)["event_id"], id);
}

TEST_F(WebhookTest, AWatchsRepeatStillReachesTheActions) {
  Start();
  const auto event = *kube::ParseEventJson(VolumeBody("ADDED", "pv1", "1").dump(), absl::Now());
  pipeline_->OnEvent(event);
  pipeline_->OnEvent(event);
  EXPECT_THAT(actions_->Seen(), ElementsAre(event.event_id, event.event_id));
  EXPECT_EQ(pipeline_->Counters().repeats.at(EventSource::kWatch), 1u);
}

TEST(WebhookStartTest, NeedsATokenThatIsOne) {
  const tests::TempDir dir;
  std::ofstream(dir.File("empty")) << "\n";
  WebhookOptions options;
  options.listen = "127.0.0.1:0";
  options.token_file = dir.File("empty");
  const auto accept = [](const model::ObjectEvent&) -> absl::StatusOr<bool> { return false; };
  EXPECT_TRUE(absl::IsInvalidArgument(WebhookIntake::Start(options, accept).status()));
  options.token_file = dir.File("none");
  EXPECT_TRUE(absl::IsNotFound(WebhookIntake::Start(options, accept).status()));
}

}  // namespace
}  // namespace understudy::primary
