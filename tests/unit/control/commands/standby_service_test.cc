// drctl serve's work while nothing that it needs can be reached: it says so, and ends when it is told to.
#include "control/commands/standby_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "control/commands/serve_metrics.h"
#include "control/commands/server_filter.h"
#include "core/net/pki.h"
#include "tests/support/temp_dir.h"

namespace understudy::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class StandbyServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(net::InitAuthority(folder_.Path(), true).ok());
    const auto files =
        net::IssueCertificate(folder_.Path(), {.name = "control", .roles = {net::Role::kControl}, .hosts = {}});
    ASSERT_TRUE(files.ok()) << files.status();
    config_.tls.ca = files->ca;
    config_.tls.cert = files->cert;
    config_.tls.key = files->key;
    // Port 1 of loopback: nobody listens there.
    config_.pairs = {{.name = "local",
                      .primary = "127.0.0.1:1",
                      .dr = "127.0.0.1:1",
                      .server_names = {},
                      .dr_server = "dr",
                      .reverse = {}}};
    config_.clusters.dr.emplace().kubeconfig = folder_.File("kubeconfig");
    std::ofstream(folder_.File("kubeconfig")) << R"(apiVersion: v1
kind: Config
clusters: [{name: dr, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: admin, user: {token: secret}}]
contexts: [{name: dr, context: {cluster: dr, user: admin}}]
current-context: dr
)";
  }

  tests::TempDir folder_;
  config::ControlConfig config_;
};

TEST_F(StandbyServiceTest, IsNotReadyWhileACatalogCannotBeReached) {
  const auto service = StandbyService::Start(config_);
  ASSERT_TRUE(service.ok()) << service.status();
  const absl::Status readiness = (*service)->Readiness();
  EXPECT_EQ(readiness.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(MessageOf(readiness)), HasSubstr("pair local: catalog not connected"));
  EXPECT_EQ((*service)->StatusLine(), "0 of 1 catalogs connected, 0 objects to apply");
}

TEST_F(StandbyServiceTest, WhatCannotBeUsedIsRefusedAtTheStart) {
  config_.clusters.dr->context = "nobody";
  EXPECT_EQ(StandbyService::Start(config_).status().code(), absl::StatusCode::kNotFound);
  config_.clusters.dr.reset();
  EXPECT_EQ(StandbyService::Start(config_).status().code(), absl::StatusCode::kInvalidArgument);
}

class ListedCatalog : public model::CatalogReader {
 public:
  explicit ListedCatalog(std::vector<std::string> servers) : servers_(std::move(servers)) {}
  absl::Status Watch(uint64_t, std::stop_token,
                     const std::function<void(std::optional<model::CatalogEntry>)>& on_entry) override {
    for (const std::string& server : servers_) {
      model::CatalogEntry entry;
      entry.server = server;
      on_entry(entry);
    }
    on_entry(std::nullopt);
    return absl::OkStatus();
  }

 private:
  const std::vector<std::string> servers_;
};

// The servers of the entries that pass, and "end" for the mark that all have been sent.
std::vector<std::string> Passing(std::vector<std::string> server_names) {
  ServerFilter filter(std::make_unique<ListedCatalog>(std::vector<std::string>{"nfs1", "nfs2", ""}),
                      std::move(server_names));
  std::vector<std::string> passed;
  const absl::Status status = filter.Watch(
      0, {}, [&](const std::optional<model::CatalogEntry>& entry) { passed.push_back(entry ? entry->server : "end"); });
  EXPECT_TRUE(status.ok()) << status;
  return passed;
}

TEST(ServerFilterTest, OnlyThePairsServersPass) {
  EXPECT_THAT(Passing({}), ElementsAre("nfs1", "nfs2", "", "end"));
  EXPECT_THAT(Passing({"nfs2"}), ElementsAre("nfs2", "", "end"));
}

TEST(ServeMetricsTest, EachPairIsALabel) {
  FollowerStatus status;
  status.connected = true;
  status.applied = 5;
  const ServeMetrics metrics(
      std::make_shared<prometheus::Registry>(),
      [&] {
        return std::map<std::string, FollowerStatus>{{"one", status}, {"two", FollowerStatus()}};
      },
      [] { return std::optional<SyncService::Status>(); });
  for (const prometheus::MetricFamily& family : metrics.Collect()) {
    ASSERT_EQ(family.metric.size(), 2u) << family.name;
    EXPECT_EQ(family.metric[0].label.at(0).value, "one");
    if (family.name == "understudy_apply_applied_total") {
      EXPECT_EQ(family.metric[0].counter.value, 5);
    }
    if (family.name == "understudy_apply_catalog_connected") {
      EXPECT_EQ(family.metric[0].gauge.value, 1);
      EXPECT_EQ(family.metric[1].gauge.value, 0);
    }
  }
}

}  // namespace
}  // namespace understudy::control
