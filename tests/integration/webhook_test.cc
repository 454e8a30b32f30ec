// A cluster that may only push: real agents take its object events at the webhook, and lose none that they said 200 to.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/synchronization/mutex.h"
#include "core/net/channel.h"
#include "core/net/http_client.h"
#include "core/net/http_server.h"
#include "core/wire/catalog_client.h"
#include "nlohmann/json.hpp"
#include "tests/support/site.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(60);

class WebhookAgentTest : public ::testing::Test {
 protected:
  void MakeSite(const std::string& more = "") {
    webhook_port_ = FreePort();
    auto site =
        Site::Make({.volumes = {},
                    .more_primary_settings = fmt::format("webhook:\n  listen: 127.0.0.1:{}\n  token_file: token\n"
                                                         "  tls: {{cert: pki/primary.crt, key: pki/primary.key}}\n{}",
                                                         webhook_port_, more),
                    .server_names = {"nfs1"}});
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    MakeVolume("pv1");
    std::ofstream(site_->File("token")) << "t0ken\n";
    net::HttpTls trust;
    trust.ca_file = site_->File("pki/ca.crt");
    client_.emplace(trust);
  }

  void MakeVolume(const std::string& name) const {
    std::filesystem::create_directories(site_->Volume(name));
    std::ofstream(site_->Volume(name) + "/file") << "content";
  }

  json VolumeEvent(const std::string& type, const std::string& version, const std::string& name = "pv1") const {
    return {{"type", type},
            {"kind", "PersistentVolume"},
            {"namespace", nullptr},
            {"name", name},
            {"resource",
             {{"apiVersion", "v1"},
              {"kind", "PersistentVolume"},
              {"metadata", {{"name", name}, {"uid", "uid-" + name}, {"resourceVersion", version}}},
              {"spec",
               {{"claimRef", {{"namespace", "shop"}, {"name", "db"}}},
                {"nfs", {{"server", "nfs1"}, {"path", site_->Volume(name)}}}}}}}};
  }
  static json ClaimEvent(const std::string& type, const std::string& version) {
    return {{"type", type},
            {"kind", "PersistentVolumeClaim"},
            {"namespace", "shop"},
            {"name", "db"},
            {"resource",
             {{"metadata", {{"name", "db"}, {"namespace", "shop"}, {"uid", "uid-db"}, {"resourceVersion", version}}},
              {"spec", {{"volumeName", "pv1"}}}}}};
  }

  absl::StatusOr<net::HttpResponse> TryPost(const json& event) const {
    net::HttpRequest request;
    request.method = "POST";
    request.url = fmt::format("https://127.0.0.1:{}/events", webhook_port_);
    request.bearer_token = "t0ken";
    request.body = event.dump();
    return client_->Send(request);
  }
  // Until the agent listens; then it must say 200.
  void Post(const json& event) {
    absl::StatusOr<net::HttpResponse> response = absl::UnknownError("not asked");
    const absl::Status answered = WaitFor("the webhook to answer", kPatience, [&] {
      response = TryPost(event);
      return response.ok();
    });
    ASSERT_TRUE(answered.ok()) << response.status() << site_->primary().Err();
    ASSERT_EQ(response->status, 200) << response->body;
  }
  void ExpectInCatalog(model::ObjectKind kind, bool there) {
    const net::TlsFiles tls{site_->File("pki/ca.crt"), site_->File("pki/control.crt"), site_->File("pki/control.key")};
    const absl::Status status = WaitForOk("the catalog", kPatience, [&]() -> absl::Status {
      // Anew each time: between calls, nobody in this process helps a broken connection up again.
      ASSIGN_OR_RETURN(auto channel, net::MakeChannel({fmt::format("127.0.0.1:{}", site_->dr_port()), tls,
                                                       net::Role::kControl, net::Role::kDr}));
      const auto listed = wire::CatalogClient(std::move(channel)).List(kind);
      RETURN_IF_ERROR(listed.status());
      if (listed->size() == (there ? 1u : 0u)) return absl::OkStatus();
      return absl::UnavailableError(fmt::format("{} entries", listed->size()));
    });
    EXPECT_TRUE(status.ok()) << status << "\nprimary: " << site_->primary().Err() << "\ndr: " << site_->dr().Err();
  }
  json Events() {
    const ProcessResult result = site_->Drctl({"events", "tail", "-o", "json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out, nullptr, false).value("events", json::array());
  }
  void ExpectOutcome(const std::string& event_id, const std::string& outcome) {
    const absl::Status status = WaitFor(event_id + " to be " + outcome, kPatience, [&] {
      for (const json& event : Events()) {
        if (event.at("event_id") == event_id && event.at("outcome") == outcome) return true;
      }
      return false;
    });
    EXPECT_TRUE(status.ok()) << status << Events().dump(1) << site_->primary().Err();
  }

  int webhook_port_ = 0;
  std::unique_ptr<Site> site_;
  std::optional<net::HttpClient> client_;
};

TEST_F(WebhookAgentTest, AnEventLeadsToDataAndObjectAtDr) {
  MakeSite();
  ASSERT_TRUE(site_->StartDr().ok());
  ASSERT_TRUE(site_->StartPrimary().ok());
  Post(ClaimEvent("ADDED", "2"));
  Post(VolumeEvent("ADDED", "1"));
  ExpectInCatalog(model::ObjectKind::kPersistentVolume, true);
  ExpectInCatalog(model::ObjectKind::kPersistentVolumeClaim, true);
  EXPECT_TRUE(site_->Sync("pv1").ok());
  EXPECT_TRUE(std::filesystem::exists(site_->Replica("pv1") + "/file"));
  ExpectOutcome("ADDED-uid-pv1-1", "done");
  ExpectOutcome("ADDED-uid-db-2", "done");
  const json event = Events().at(1);
  EXPECT_EQ(event.at("source"), "webhook");
  EXPECT_EQ(event.at("rule"), "forward,volumes");
  const ProcessResult table = site_->Drctl({"events", "tail"});
  EXPECT_THAT(table.out, HasSubstr("PersistentVolumeClaim shop/db"));

  net::HttpRequest metrics;
  metrics.url = fmt::format("http://127.0.0.1:{}/metrics", site_->primary_metrics_port());
  const auto page = client_->Send(metrics);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(page->body, HasSubstr("understudy_events_total{source=\"webhook\",type=\"ADDED\"} 2\n"));
  EXPECT_THAT(page->body, HasSubstr("understudy_webhook_requests_total{code=\"200\"} 2\n"));
  EXPECT_THAT(page->body, HasSubstr("understudy_rule_matches_total{rules=\"forward,volumes\"} 2\n"));

  Post(ClaimEvent("DELETED", "3"));
  ExpectInCatalog(model::ObjectKind::kPersistentVolumeClaim, false);
}

TEST_F(WebhookAgentTest, AnAgentThatIsKilledRightAfter200DoesWhatItPromised) {
  MakeSite();
  ASSERT_TRUE(site_->StartPrimary().ok());
  Post(VolumeEvent("ADDED", "1"));
  site_->primary().Kill();
  // Without DR it can't have been done before.
  ASSERT_TRUE(site_->StartDr().ok());
  ASSERT_TRUE(site_->StartPrimary().ok());
  ExpectInCatalog(model::ObjectKind::kPersistentVolume, true);
  ExpectOutcome("ADDED-uid-pv1-1", "done");
}

TEST_F(WebhookAgentTest, AVolumeThatAnEventBroughtIsReplicatedAgainAfterARestart) {
  MakeSite();
  ASSERT_TRUE(site_->StartDr().ok());
  ASSERT_TRUE(site_->StartPrimary().ok());
  Post(VolumeEvent("ADDED", "1"));
  ExpectOutcome("ADDED-uid-pv1-1", "done");
  site_->primary().Kill();
  std::ofstream(site_->Volume("pv1") + "/later") << "written while the agent was down";
  ASSERT_TRUE(site_->StartPrimary().ok());
  const absl::Status shown = WaitFor("the later file at DR", kPatience,
                                     [&] { return std::filesystem::exists(site_->Replica("pv1") + "/later"); });
  EXPECT_TRUE(shown.ok()) << shown << site_->primary().Err();
  Post(ClaimEvent("ADDED", "2"));
  ExpectInCatalog(model::ObjectKind::kPersistentVolumeClaim, true);
}

// What nfs-subdir-external-provisioner (archiveOnDelete) and csi-driver-nfs (onDelete: archive) do: the claim goes, the
// folder is renamed beside where it was, then the volume goes.
TEST_F(WebhookAgentTest, AVolumeWhoseFolderIsArchivedGoesToTheTrashAsAWhole) {
  constexpr int kFiles = 30;
  MakeSite();
  MakeVolume("pv2");
  const auto file = [](const std::string& folder, int i) { return folder + "/data-" + std::to_string(i); };
  for (int i = 0; i < kFiles; ++i) std::ofstream(file(site_->Volume("pv1"), i)) << i;
  ASSERT_TRUE(site_->StartDr().ok());
  ASSERT_TRUE(site_->StartPrimary().ok());
  for (const char* const name : {"pv1", "pv2"}) {
    Post(VolumeEvent("ADDED", "1", name));
    ASSERT_EQ(site_->Sync(name), absl::OkStatus()) << site_->primary().Err();
  }
  json released = VolumeEvent("MODIFIED", "2");
  released["resource"]["spec"]["persistentVolumeReclaimPolicy"] = "Delete";
  released["resource"]["status"] = {{"phase", "Released"}};
  Post(released);
  const std::string archived = site_->Volume("archived-pv1");
  std::filesystem::rename(site_->Volume("pv1"), archived);
  // The agent has looked at both by now, or will; the other volume goes on.
  std::ofstream(site_->Volume("pv2") + "/later") << "later";
  ASSERT_EQ(site_->Sync("pv2"), absl::OkStatus()) << site_->primary().Err();
  EXPECT_TRUE(std::filesystem::exists(site_->Replica("pv2") + "/later"));
  for (int i = 0; i < kFiles; ++i) EXPECT_TRUE(std::filesystem::exists(file(site_->Replica("pv1"), i))) << i;

  Post(VolumeEvent("DELETED", "3"));
  ExpectOutcome("DELETED-uid-pv1-3", "done");
  EXPECT_FALSE(std::filesystem::exists(site_->Replica("pv1")));
  EXPECT_FALSE(std::filesystem::exists(site_->Replica("archived-pv1"))) << "it is no volume";
  EXPECT_TRUE(std::filesystem::exists(file(archived, 0))) << "nothing is deleted at the primary";
  const json trash = json::parse(site_->Drctl({"trash", "list", "-o", "json"}).out, nullptr, false);
  ASSERT_EQ(trash.at("trash").size(), 1U) << trash;
  EXPECT_EQ(trash["trash"][0]["volume"], "pv1");
  const ProcessResult restored = site_->Drctl({"trash", "restore", trash["trash"][0]["id"]});
  EXPECT_EQ(restored.exit_code, 0) << restored.err;
  for (int i = 0; i < kFiles; ++i) EXPECT_TRUE(std::filesystem::exists(file(site_->Replica("pv1"), i))) << i;
  EXPECT_TRUE(std::filesystem::exists(site_->Replica("pv2") + "/later"));
}

TEST_F(WebhookAgentTest, WhatTheRulesForwardArrivesAndTheRestIsIgnored) {
  absl::Mutex mutex;
  std::vector<std::string> bodies;
  const auto eda = net::HttpServer::Start({.listen = "127.0.0.1:0"}, [&](const net::HttpServer::Request& request) {
    absl::MutexLock lock(&mutex);
    bodies.push_back(request.body);
    return net::HttpServer::Response{};
  });
  ASSERT_TRUE(eda.ok()) << eda.status();
  MakeSite(fmt::format("forward: [{{name: eda, url: \"http://127.0.0.1:{}/endpoint\"}}]\nrules_file: rules.yaml\n",
                       (*eda)->port()));
  std::ofstream(site_->File("rules.yaml")) << "rules:\n"
                                              "- {name: tell, when: {kind: [PersistentVolume]}, do: [forward]}\n"
                                              "- {name: nothing, do: [ignore]}\n";
  ASSERT_TRUE(site_->StartPrimary().ok());
  Post(ClaimEvent("ADDED", "2"));
  Post(VolumeEvent("ADDED", "1"));
  const absl::Status arrived = WaitFor("the event to arrive", kPatience, [&] {
    absl::MutexLock lock(&mutex);
    return !bodies.empty();
  });
  ASSERT_TRUE(arrived.ok()) << arrived << site_->primary().Err();
  ExpectOutcome("ADDED-uid-db-2", "ignored");
  ExpectOutcome("ADDED-uid-pv1-1", "done");
  absl::MutexLock lock(&mutex);
  ASSERT_EQ(bodies.size(), 1u);
  const json body = json::parse(bodies[0]);
  EXPECT_EQ(body["event_id"], "ADDED-uid-pv1-1");
  EXPECT_EQ(body["resource"], VolumeEvent("ADDED", "1")["resource"]);
}

TEST_F(WebhookAgentTest, AFollowerSeesEventsAsTheyComeAndEnds) {
  MakeSite();
  ASSERT_TRUE(site_->StartDr().ok());
  ASSERT_TRUE(site_->StartPrimary().ok());
  Post(ClaimEvent("ADDED", "2"));
  auto follower = Process::Start(
      {.program = ProgramPath("drctl"),
       .arguments = {"--config", site_->File("control.yaml"), "events", "tail", "--follow", "-o", "json"}});
  ASSERT_TRUE(follower.ok()) << follower.status();
  const auto says = [&](const std::string& text) {
    return WaitFor("the follower to say " + text, kPatience,
                   [&] { return (*follower)->Out().find(text) != std::string::npos; });
  };
  EXPECT_TRUE(says(R"("detail":"waits for PersistentVolume pv1")").ok()) << (*follower)->Out();
  Post(VolumeEvent("ADDED", "1"));
  EXPECT_TRUE(says(R"("name":"pv1","source":"webhook","rule":"forward,volumes","outcome":"done")").ok())
      << (*follower)->Out();
  EXPECT_EQ(site_->primary().Stop().exit_code, 0);
  const auto ended = (*follower)->Wait(kPatience);
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_EQ(ended->exit_code, 4) << ended->err;
}

}  // namespace
}  // namespace understudy::tests
