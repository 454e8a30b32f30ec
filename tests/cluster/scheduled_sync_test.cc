// The scheduled sync from end to end: two real clusters, two real agents, and drctl as users run it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/time/clock.h"
#include "control/sync/state.h"
#include "tests/support/api_proxy.h"
#include "tests/support/cluster.h"
#include "tests/support/http_test_server.h"
#include "tests/support/site.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string VolumePath(const std::string& name) {
  return "/api/v1/persistentvolumes/" + name;
}
std::string ClaimPath(const std::string& of_namespace, const std::string& name) {
  return fmt::format("/api/v1/namespaces/{}/persistentvolumeclaims/{}", of_namespace, name);
}

class ScheduledSyncTest : public testing::Test {
 protected:
  ScheduledSyncTest() : hook_([](const TestRequest&, TestReply& reply) { reply.Send(200, ""); }) {}

  // One pair of clusters for all tests, which leave nothing in them.
  static void SetUpTestSuite() {
    auto primary = Cluster::Start("primary");
    ASSERT_TRUE(primary.ok()) << primary.status();
    primary_ = primary->release();
    auto dr = Cluster::Start("dr");
    ASSERT_TRUE(dr.ok()) << dr.status();
    dr_ = dr->release();
    for (const char* const name : {"shop", "bank"}) {
      ASSERT_TRUE(primary_->Post("/api/v1/namespaces", {{"metadata", {{"name", name}}}}).ok());
    }
  }
  static void TearDownTestSuite() {
    delete dr_;
    delete primary_;
  }

  void SetUp() override {
    ASSERT_TRUE(primary_ != nullptr && dr_ != nullptr) << "the clusters didn't start";
    proxy_ = std::make_unique<ApiProxy>(*primary_);
    auto site = Site::Make({.volumes = {}, .server_names = {"nfs1"}});
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    WriteConfiguration();
    ASSERT_EQ(site_->StartDr(), absl::OkStatus());
    ASSERT_EQ(site_->StartPrimary(), absl::OkStatus());
    ASSERT_EQ(WaitForOk("both agents", absl::Minutes(1),
                        [this] {
                          const ProcessResult status = site_->Drctl({"status"});
                          return status.exit_code == 0 && status.out.find("connected to dr") != std::string::npos
                                     ? absl::OkStatus()
                                     : absl::UnavailableError(status.out + status.err);
                        }),
              absl::OkStatus());
  }

  void TearDown() override {
    for (const Cluster* const cluster : {primary_, dr_}) {
      if (cluster == nullptr) continue;
      for (const char* const kind : {"persistentvolumeclaims", "persistentvolumes"}) DeleteAll(*cluster, kind);
    }
  }
  static void DeleteAll(const Cluster& cluster, const std::string& kind) {
    const auto gone = [&] {
      const auto list = cluster.Get("/api/v1/" + kind);
      if (!list.ok()) return false;
      for (const json& item : list->at("items")) {
        const json& metadata = item.at("metadata");
        const std::string of_namespace = metadata.value("namespace", "");
        (void)cluster.Delete(fmt::format("/api/v1/{}{}/{}",
                                         of_namespace.empty() ? "" : "namespaces/" + of_namespace + "/", kind,
                                         metadata.at("name").get<std::string>()));
      }
      return list->at("items").empty();
    };
    EXPECT_EQ(WaitFor(kind + " to be gone", absl::Minutes(2), gone), absl::OkStatus());
  }

  void WriteConfiguration() {
    std::ofstream(site_->File("control.yaml"), std::ios::app) << fmt::format(
        "clusters: {{primary: {{kubeconfig: \"{}\"}}, dr: {{kubeconfig: \"{}\"}}}}\n"
        "state_dir: state-control\nnamespaces: [shop, bank]\n"
        "notify: {{webhooks: [{{url: \"{}/hook\"}}]}}\n",
        proxy_->Kubeconfig(), dr_->Kubeconfig(), hook_.Url());
  }

  // A claim, its volume, and a file in it.
  void Make(const std::string& of_namespace, const std::string& name) {
    std::filesystem::create_directories(site_->Volume(name));
    std::ofstream(site_->Volume(name) + "/file") << "data of " << name;
    ASSERT_TRUE(
        primary_
            ->Post("/api/v1/persistentvolumes", {{"metadata", {{"name", name}}},
                                                 {"spec",
                                                  {{"capacity", {{"storage", "1Gi"}}},
                                                   {"accessModes", {"ReadWriteMany"}},
                                                   {"storageClassName", "nfs"},
                                                   {"persistentVolumeReclaimPolicy", "Retain"},
                                                   {"claimRef", {{"namespace", of_namespace}, {"name", name}}},
                                                   {"nfs", {{"server", "nfs1"}, {"path", site_->Volume(name)}}}}}})
            .ok());
    ASSERT_TRUE(primary_
                    ->Post(fmt::format("/api/v1/namespaces/{}/persistentvolumeclaims", of_namespace),
                           {{"metadata", {{"name", name}}},
                            {"spec",
                             {{"accessModes", {"ReadWriteMany"}},
                              {"resources", {{"requests", {{"storage", "1Gi"}}}}},
                              {"storageClassName", "nfs"},
                              {"volumeName", name}}}})
                    .ok());
  }
  void DeleteOnPrimary(const std::string& of_namespace, const std::string& name) {
    ASSERT_TRUE(primary_->Delete(ClaimPath(of_namespace, name)).ok());
    ASSERT_TRUE(primary_->Delete(VolumePath(name)).ok());
    ASSERT_EQ(WaitFor(name + " to be gone at the primary", absl::Minutes(1),
                      [&] { return absl::IsNotFound(primary_->Get(VolumePath(name)).status()); }),
              absl::OkStatus());
  }

  json Run(int exit_code, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"sync", "run", "-o", "json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = site_->Drctl(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.out << result.err;
    json report = json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(report.is_object()) << result.out << result.err;
    return report;
  }
  json ReadJson(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"-o", "json"});
    const ProcessResult result = site_->Drctl(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  }
  void ExpectBoundAtDr(const std::string& of_namespace, const std::string& name) {
    const auto bound = [&] {
      const auto claim = dr_->Get(ClaimPath(of_namespace, name));
      return claim.ok() && claim->at("status").value("phase", "") == "Bound";
    };
    EXPECT_EQ(WaitFor(name + " to be bound at DR", absl::Minutes(1), bound), absl::OkStatus());
  }
  size_t ClaimsAtDr() {
    const auto claims = dr_->Get("/api/v1/persistentvolumeclaims");
    return claims.ok() ? claims->at("items").size() : 0;
  }
  size_t VolumesAtDr() {
    const auto volumes = dr_->Get("/api/v1/persistentvolumes");
    return volumes.ok() ? volumes->at("items").size() : 0;
  }

  HttpTestServer hook_;
  static Cluster* primary_;
  static Cluster* dr_;
  std::unique_ptr<ApiProxy> proxy_;
  std::unique_ptr<Site> site_;
};

Cluster* ScheduledSyncTest::primary_ = nullptr;
Cluster* ScheduledSyncTest::dr_ = nullptr;

TEST_F(ScheduledSyncTest, BringsNamespacesAcrossAndCleansUpWhatIsGone) {
  for (const char* const name : {"db", "web", "mail"}) Make("shop", name);
  for (const char* const name : {"ledger", "archive"}) Make("bank", name);

  json report = Run(0, {"--dry-run"});
  EXPECT_EQ(report["counts"]["would-sync"], 10);
  EXPECT_EQ(ClaimsAtDr(), 0U);
  report = Run(0);
  EXPECT_EQ(report["counts"]["synced"], 10) << report.dump(2);
  for (const char* const name : {"db", "web", "mail"}) ExpectBoundAtDr("shop", name);
  for (const char* const name : {"ledger", "archive"}) ExpectBoundAtDr("bank", name);
  EXPECT_EQ(ReadFile(site_->Replica("ledger") + "/file"), "data of ledger");
  EXPECT_EQ(dr_->Get(VolumePath("db"))->at("spec").at("nfs").at("path"), site_->Replica("db"));
  // The dry run told nobody.
  ASSERT_EQ(hook_.Requests().size(), 1U);
  EXPECT_EQ(json::parse(hook_.Requests()[0].body)["run"], report["run"]);
  EXPECT_EQ(Run(0)["counts"]["unchanged"], 10);

  // What was protected is so after a restart of the agent.
  ASSERT_EQ(site_->primary().Stop().exit_code, 0);
  ASSERT_EQ(site_->StartPrimary(), absl::OkStatus());
  EXPECT_EQ(WaitFor("the volumes", absl::Minutes(1),
                    [this] {
                      const json status = json::parse(site_->Drctl({"status", "-o", "json"}).out, nullptr, false);
                      if (!status.is_object()) return false;
                      size_t known = 0;
                      for (const json& volume : status.at("volumes")) known += volume.at("origin").is_string() ? 1 : 0;
                      return known == 5;
                    }),
            absl::OkStatus());

  DeleteOnPrimary("shop", "mail");
  report = Run(0);
  EXPECT_EQ(report["counts"]["cleaned"], 2) << report.dump(2);
  EXPECT_EQ(WaitFor("mail to be gone at DR", absl::Minutes(1), [this] { return VolumesAtDr() == 4; }),
            absl::OkStatus());
  EXPECT_EQ(ClaimsAtDr(), 4U);
  const json trash = ReadJson({"trash", "list"})["trash"];
  ASSERT_EQ(trash.size(), 1U) << report.dump(2);
  EXPECT_EQ(trash[0]["volume"], "mail");
  EXPECT_EQ(ReadFile(site_->Volume("mail") + "/file"), "data of mail") << "nothing is deleted at the primary";

  const json runs = ReadJson({"sync", "list"})["runs"];
  EXPECT_EQ(runs.size(), 4U);
  EXPECT_EQ(ReadJson({"status"})["sync"]["last_run"]["run"], report["run"]);
  EXPECT_EQ(json::parse(site_->Drctl({"sync", "report", "--format", "json"}).out), report);
  EXPECT_THAT(site_->Drctl({"sync", "report", "--format", "html"}).out, HasSubstr("<!DOCTYPE html>"));
}

// Whatever is wrong with the primary cluster's lists, DR loses nothing, and the report says so.
TEST_F(ScheduledSyncTest, BrokenListsDeleteNothing) {
  for (const char* const name : {"db", "web", "mail"}) Make("shop", name);
  Make("bank", "ledger");
  Run(0);
  ASSERT_EQ(ClaimsAtDr(), 4U);

  const auto is_list = [](const TestRequest& request) { return request.target.find("?limit=") != std::string::npos; };
  const auto of_claims = [is_list](const TestRequest& request) {
    return is_list(request) && request.target.find("persistentvolumeclaims") != std::string::npos;
  };
  const auto keep_items = [](net::HttpResponse& response, size_t count, bool tells) {
    json list = json::parse(response.body);
    const size_t rest = list["items"].size() - std::min(list["items"].size(), count);
    if (rest == 0) return;
    list["items"].erase(list["items"].begin() + static_cast<ptrdiff_t>(count), list["items"].end());
    if (tells) list["metadata"]["remainingItemCount"] = rest;
    response.body = list.dump();
  };
  struct Trouble {
    std::string name;
    int exit_code;
    ApiProxy::Change change;
  };
  const Trouble troubles[] = {
      {"every list fails", 4,
       [&](const TestRequest& request, net::HttpResponse& response) {
         if (is_list(request)) response.status = 500;
       }},
      {"the claims of one namespace fail", 3,
       [&](const TestRequest& request, net::HttpResponse& response) {
         if (of_claims(request) && request.target.find("/bank/") != std::string::npos) response.status = 500;
       }},
      {"every list is empty", 5,
       [&](const TestRequest& request, net::HttpResponse& response) {
         if (is_list(request)) keep_items(response, 0, false);
       }},
      {"the first item alone, and that is said", 3,
       [&](const TestRequest& request, net::HttpResponse& response) {
         if (of_claims(request)) keep_items(response, 1, true);
       }},
      {"the first item alone, and that isn't said", 5,
       [&](const TestRequest& request, net::HttpResponse& response) {
         if (of_claims(request)) keep_items(response, 1, false);
       }},
      {"the second page fails", 3,
       [&](const TestRequest& request, net::HttpResponse& response) {
         if (request.target.find("&continue=") != std::string::npos) response.status = 500;
         if (!of_claims(request) || request.target.find("/shop/") == std::string::npos) return;
         if (response.status != 200) return;
         json list = json::parse(response.body);
         list["metadata"]["continue"] = "more";
         response.body = list.dump();
       }},
  };
  for (const Trouble& trouble : troubles) {
    SCOPED_TRACE(trouble.name);
    const size_t told = hook_.Requests().size();
    proxy_->SetChange(trouble.change);
    const json report = Run(trouble.exit_code);
    EXPECT_EQ(report["cleaning"]["state"], "held") << report.dump(2);
    EXPECT_FALSE(report["alerts"].empty());
    EXPECT_EQ(report["counts"]["cleaned"], 0);
    EXPECT_EQ(ClaimsAtDr(), 4U);
    EXPECT_EQ(VolumesAtDr(), 4U);
    EXPECT_EQ(hook_.Requests().size(), told + 1) << "the alert is sent";
  }
  EXPECT_EQ(ReadJson({"trash", "list"})["trash"].size(), 0U);
  proxy_->SetChange(nullptr);
  EXPECT_EQ(Run(0)["counts"]["unchanged"], 8);
}

TEST_F(ScheduledSyncTest, ApplyShowsWhatWouldChangeAndThenChangesIt) {
  Make("shop", "db");
  Run(0);
  ExpectBoundAtDr("shop", "db");
  ProcessResult result = site_->Drctl({"apply", "--dry-run", "--diff"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("nothing to change"));

  // What somebody did at DR, and what the catalog has to say to it.
  ASSERT_TRUE(dr_->Delete(ClaimPath("shop", "db")).ok());
  ASSERT_EQ(WaitFor("the claim to be gone", absl::Minutes(1), [this] { return ClaimsAtDr() == 0; }), absl::OkStatus());
  ASSERT_TRUE(dr_->MergePatch(VolumePath("db"), {{"metadata", {{"labels", {{"tier", "gold"}}}}},
                                                 {"spec", {{"mountOptions", {"nolock"}}}}})
                  .ok());
  result = site_->Drctl({"apply", "--dry-run", "--diff"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("--- /dev/null\n+++ catalog: PersistentVolumeClaim shop/db\n@@ -0,0 +1,"));
  EXPECT_THAT(result.out, HasSubstr("+  volumeName: \"db\"\n"));
  EXPECT_THAT(result.out, Not(HasSubstr("resourceVersion"))) << "the server's own fields are left out";
  EXPECT_EQ(ClaimsAtDr(), 0U) << "a dry run changes nothing";

  result = site_->Drctl({"apply", "--pair", "local"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("create     PersistentVolumeClaim shop/db"));
  ExpectBoundAtDr("shop", "db");
}

TEST_F(ScheduledSyncTest, ServeMakesUpForAMissedRunAndShowsIt) {
  Make("shop", "db");
  {
    const auto state = control::SyncState::Open(site_->File("state-control"));
    ASSERT_TRUE(state.ok()) << state.status();
    ASSERT_EQ((*state)->SetScheduleKeptUntil(absl::Now() - absl::Hours(30)), absl::OkStatus());
  }
  const absl::Status serving = site_->StartServe();
  ASSERT_TRUE(serving.ok()) << serving;
  EXPECT_EQ(WaitFor("the report", absl::Minutes(2), [this] { return !hook_.Requests().empty(); }), absl::OkStatus())
      << site_->serve().Err();
  const json runs = ReadJson({"sync", "list"})["runs"];
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0]["trigger"], "schedule");
  EXPECT_EQ(runs[0]["made_up"], true);
  EXPECT_EQ(runs[0]["result"], "done");
  ExpectBoundAtDr("shop", "db");
  EXPECT_TRUE(ReadJson({"status"})["sync"]["next_run_at"].is_string());
  const auto metrics =
      RunProcess({.program = "curl",
                  .arguments = {"-fsS", fmt::format("http://127.0.0.1:{}/metrics", site_->control_metrics_port())}});
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_THAT(metrics->out, HasSubstr("understudy_sync_last_success_timestamp_seconds"));
  EXPECT_THAT(metrics->out, HasSubstr("understudy_sync_last_run_objects{outcome=\"synced\"} 2"));
  EXPECT_EQ(site_->serve().Stop().exit_code, 0) << site_->serve().Err();
}

}  // namespace
}  // namespace understudy::tests
