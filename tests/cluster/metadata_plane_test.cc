// The metadata plane between two real clusters: intake, rules, catalog, follower and applier. Only the data plane and
// the wire between the agents are memory twins.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <optional>
#include <thread>

#include "agent-primary/intake/cluster_intake.h"
#include "agent-primary/rules/action_runner.h"
#include "control/apply/applier.h"
#include "control/serve/follower.h"
#include "tests/support/api_proxy.h"
#include "tests/support/cluster.h"
#include "tests/support/memory_archives.h"
#include "tests/support/memory_catalog.h"
#include "tests/support/memory_volumes.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using nlohmann::json;

std::string VolumePath(const std::string& name) {
  return "/api/v1/persistentvolumes/" + name;
}
std::string ClaimPath(const std::string& name) {
  return "/api/v1/namespaces/shop/persistentvolumeclaims/" + name;
}

std::unique_ptr<kube::Client> ClientOf(const std::string& kubeconfig, kube::ClientOptions options = {}) {
  const auto access = kube::LoadKubeconfig(kubeconfig, "");
  EXPECT_TRUE(access.ok()) << access.status();
  return std::make_unique<kube::Client>(*access, options);
}

// So that a test needn't wait as long as an agent would.
const kube::ClientOptions kImpatient{.request_timeout = absl::Seconds(2), .watch_silence_timeout = absl::Seconds(2)};

// The half of the metadata plane that runs in understudy-primary.
class PrimarySide {
 public:
  PrimarySide(const kube::Client& client, primary::VolumeActions& volumes, model::CatalogWriter& catalog)
      : runner_(volumes, catalog),
        intake_(client, {"shop"}, runner_, {.retry_longest = absl::Seconds(1)}),
        work_([this](std::stop_token stop) { runner_.Run(stop); }),
        follow_([this](std::stop_token stop) { intake_.Run(stop); }) {}

  [[nodiscard]] bool Reconciled() const { return runner_.Status().reconciled; }
  // Why the kind can't be followed now.
  [[nodiscard]] std::string Error(model::ObjectKind kind) const {
    for (const primary::KindStatus& status : intake_.Status()) {
      if (status.kind == kind) return status.error;
    }
    return {};
  }

 private:
  primary::ActionRunner runner_;
  primary::ClusterIntake intake_;
  std::jthread work_;
  std::jthread follow_;
};

class MetadataPlaneTest : public testing::Test {
 protected:
  void SetUp() override {
    auto primary = Cluster::Start("primary");
    ASSERT_TRUE(primary.ok()) << primary.status();
    primary_ = *std::move(primary);
    auto dr = Cluster::Start("dr");
    ASSERT_TRUE(dr.ok()) << dr.status();
    dr_ = *std::move(dr);
    primary_client_ = ClientOf(primary_->Kubeconfig());
    dr_client_ = ClientOf(dr_->Kubeconfig());
    ASSERT_TRUE(primary_->Post("/api/v1/namespaces", {{"metadata", {{"name", "shop"}}}}).ok());
    applier_.emplace(*dr_client_);
    control::FollowerOptions options;
    options.pair = "test";
    options.transform.dr_server = "dr-nfs";
    follower_.emplace(options, catalog_, *applier_, archives_);
    following_ = std::jthread([this](std::stop_token stop) { follower_->Run(stop); });
    StartPrimary();
  }

  void StartPrimary() { side_.emplace(*primary_client_, volumes_, catalog_); }
  void StopPrimary() { side_.reset(); }

  void MakeOnPrimary(const std::string& name) {
    ASSERT_TRUE(
        primary_
            ->Post("/api/v1/persistentvolumes", {{"metadata", {{"name", name}}},
                                                 {"spec",
                                                  {{"capacity", {{"storage", "1Gi"}}},
                                                   {"accessModes", {"ReadWriteMany"}},
                                                   {"storageClassName", "nfs"},
                                                   {"claimRef", {{"namespace", "shop"}, {"name", name}}},
                                                   {"nfs", {{"server", "nfs1"}, {"path", "/export/" + name}}}}}})
            .ok());
    ASSERT_TRUE(primary_
                    ->Post("/api/v1/namespaces/shop/persistentvolumeclaims",
                           {{"metadata", {{"name", name}}},
                            {"spec",
                             {{"accessModes", {"ReadWriteMany"}},
                              {"resources", {{"requests", {{"storage", "1Gi"}}}}},
                              {"storageClassName", "nfs"},
                              {"volumeName", name}}}})
                    .ok());
  }
  void DeleteOnPrimary(const std::string& name) {
    ASSERT_TRUE(primary_->Delete(ClaimPath(name)).ok());
    ASSERT_TRUE(primary_->Delete(VolumePath(name)).ok());
  }
  void ExpectBoundAtDr(const std::string& name) {
    const auto bound = [&] {
      const auto claim = dr_->Get(ClaimPath(name));
      return claim.ok() && claim->at("status").value("phase", "") == "Bound";
    };
    EXPECT_EQ(WaitFor(name + " to be bound at DR", absl::Minutes(1), bound), absl::OkStatus());
  }
  void ExpectGoneAtDr(const std::string& name) {
    const auto gone = [&] {
      return absl::IsNotFound(dr_->Get(ClaimPath(name)).status()) &&
             absl::IsNotFound(dr_->Get(VolumePath(name)).status());
    };
    EXPECT_EQ(WaitFor(name + " to be gone at DR", absl::Minutes(1), gone), absl::OkStatus());
  }

  std::unique_ptr<Cluster> primary_;
  std::unique_ptr<Cluster> dr_;
  std::unique_ptr<kube::Client> primary_client_;
  std::unique_ptr<kube::Client> dr_client_;
  MemoryVolumes volumes_;
  MemoryCatalog catalog_;
  MemoryArchives archives_;
  std::optional<control::KubeApplier> applier_;
  std::optional<control::Follower> follower_;
  std::jthread following_;
  std::optional<PrimarySide> side_;
};

TEST_F(MetadataPlaneTest, WhatIsMadeAndDeletedAtThePrimaryIsSoAtDr) {
  volumes_.SetSlow("db", true);
  MakeOnPrimary("db");
  ASSERT_EQ(WaitFor("the data to be on its way", absl::Minutes(1), [&] { return volumes_.Syncs("db") > 0; }),
            absl::OkStatus());
  MakeOnPrimary("web");
  ExpectBoundAtDr("web");
  EXPECT_TRUE(absl::IsNotFound(dr_->Get(VolumePath("db")).status())) << "applied before its data is across";
  volumes_.SetSlow("db", false);
  ExpectBoundAtDr("db");
  const auto volume = dr_->Get(VolumePath("db"));
  ASSERT_TRUE(volume.ok()) << volume.status();
  EXPECT_EQ((*volume)["spec"]["nfs"]["server"], "dr-nfs");
  EXPECT_EQ((*volume)["spec"]["nfs"]["path"], "/replica/db");
  EXPECT_EQ((*volume)["spec"]["persistentVolumeReclaimPolicy"], "Retain");

  DeleteOnPrimary("db");
  ExpectGoneAtDr("db");
  EXPECT_EQ(volumes_.Registered().count("db"), 0U);
  ASSERT_EQ(WaitFor("the data to be discarded", absl::Minutes(1), [&] { return volumes_.Discarded().contains("db"); }),
            absl::OkStatus());
  EXPECT_EQ(volumes_.Discarded().at("db"), "/replica/db");

  // Deleted while the agent is down: found by comparing when it is back.
  MakeOnPrimary("mail");
  ExpectBoundAtDr("mail");
  StopPrimary();
  DeleteOnPrimary("web");
  StartPrimary();
  ExpectGoneAtDr("web");
  ASSERT_EQ(WaitFor("the data to be discarded", absl::Minutes(1), [&] { return volumes_.Discarded().contains("web"); }),
            absl::OkStatus());
  EXPECT_FALSE(volumes_.Discarded().contains("mail"));
  ASSERT_EQ(WaitFor("the comparison", absl::Minutes(1), [&] { return side_->Reconciled(); }), absl::OkStatus());
  ExpectBoundAtDr("mail");
}

// The primary's half of the plane over a proxy that can be told to misbehave.
class WatchedThroughProxyTest : public MetadataPlaneTest {
 protected:
  void SetUp() override {
    MetadataPlaneTest::SetUp();
    StopPrimary();
    proxy_ = std::make_unique<ApiProxy>(*primary_);
    primary_client_ = ClientOf(proxy_->Kubeconfig(), kImpatient);
    StartPrimary();
    MakeOnPrimary("db");
    ExpectBoundAtDr("db");
  }
  void TearDown() override { StopPrimary(); }
  void ExpectError(const std::string& text) {
    EXPECT_EQ(
        WaitFor("the watch to fail: " + text, absl::Minutes(1),
                [&] { return side_->Error(model::ObjectKind::kPersistentVolume).find(text) != std::string::npos; }),
        absl::OkStatus())
        << side_->Error(model::ObjectKind::kPersistentVolume);
  }

  std::unique_ptr<ApiProxy> proxy_;
};

TEST_F(WatchedThroughProxyTest, AWatchThatFallsSilentIsGivenUpAndNothingIsMissed) {
  proxy_->SetMode(ApiProxy::Mode::kSilent);
  MakeOnPrimary("web");
  ExpectError("no byte came");
  EXPECT_TRUE(absl::IsNotFound(dr_->Get(ClaimPath("web")).status()));
  proxy_->SetMode(ApiProxy::Mode::kPass);
  ExpectBoundAtDr("web");
}

TEST_F(WatchedThroughProxyTest, AfterACompactionUnderTheWatchWhatWentIsDeleted) {
  MakeOnPrimary("web");
  ExpectBoundAtDr("web");
  proxy_->SetMode(ApiProxy::Mode::kErrors);
  ExpectError("etcd is away");
  DeleteOnPrimary("db");
  MakeOnPrimary("mail");
  ASSERT_EQ(primary_->Compact(), absl::OkStatus());
  // The server answers from its memory; a new one remembers only what etcd does.
  primary_->StopApi();
  ASSERT_EQ(primary_->StartApi(), absl::OkStatus());
  const int lists = proxy_->Lists();
  proxy_->SetMode(ApiProxy::Mode::kPass);
  ExpectGoneAtDr("db");
  ExpectBoundAtDr("mail");
  ExpectBoundAtDr("web");
  EXPECT_GT(proxy_->Lists(), lists) << "it was resumed, not listed";
}

// A volume that refers to no claim belongs to the claim that names it, whichever is seen first.
TEST_F(MetadataPlaneTest, AVolumeIsTakenWhenAClaimOfAWatchedNamespaceNamesIt) {
  primary_->StopControllers();  // so that nobody else writes the reference
  for (const char* name : {"early", "foreign"}) {
    ASSERT_TRUE(primary_
                    ->Post("/api/v1/persistentvolumes", {{"metadata", {{"name", name}}},
                                                         {"spec",
                                                          {{"capacity", {{"storage", "1Gi"}}},
                                                           {"accessModes", {"ReadWriteMany"}},
                                                           {"storageClassName", "nfs"},
                                                           {"nfs", {{"server", "nfs1"}, {"path", "/export/early"}}}}}})
                    .ok());
  }
  MakeOnPrimary("web");
  ExpectBoundAtDr("web");
  EXPECT_TRUE(absl::IsNotFound(dr_->Get(VolumePath("early")).status()));
  ASSERT_TRUE(primary_
                  ->Post("/api/v1/namespaces/shop/persistentvolumeclaims",
                         {{"metadata", {{"name", "early"}}},
                          {"spec",
                           {{"accessModes", {"ReadWriteMany"}},
                            {"resources", {{"requests", {{"storage", "1Gi"}}}}},
                            {"storageClassName", "nfs"},
                            {"volumeName", "early"}}}})
                  .ok());
  ExpectBoundAtDr("early");
  EXPECT_TRUE(absl::IsNotFound(dr_->Get(VolumePath("foreign")).status()));
}

// Every request of ours to the primary cluster only reads.
TEST_F(MetadataPlaneTest, ThePrimaryClusterIsOnlyRead) {
  MakeOnPrimary("db");
  ExpectBoundAtDr("db");
  DeleteOnPrimary("db");
  ExpectGoneAtDr("db");
  StopPrimary();
  std::ifstream log(primary_->AuditLog());
  int requests = 0;
  for (std::string line; std::getline(log, line);) {
    const json entry = json::parse(line, nullptr, false);
    if (!entry.is_object() || entry.value("userAgent", "") != "understudy") continue;
    ++requests;
    const std::string verb = entry.at("verb");
    EXPECT_TRUE(verb == "list" || verb == "watch") << line;
  }
  EXPECT_GE(requests, 8);
}

}  // namespace
}  // namespace understudy::tests
