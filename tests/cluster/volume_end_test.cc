// How volumes end, and what doesn't end them, with real clusters and both agents: a provisioner that deletes the data
// before the object, a PersistentVolume that is made anew elsewhere while nobody watches, a catalog that DR lost, an
// old primary site that is cleaned up while DR is the live one.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/cluster/cluster_site.h"
#include "tests/support/api_proxy.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using nlohmann::json;

constexpr char kShop[] = "shop";
constexpr char kVolumes[] = "/api/v1/persistentvolumes";
constexpr char kClaims[] = "/api/v1/namespaces/shop/persistentvolumeclaims";
constexpr int kFiles = 200;
constexpr absl::Duration kPatience = absl::Minutes(3);

class VolumeEndTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = ClusterSite::StartClusters({kShop});
    ASSERT_TRUE(made.ok()) << made.status();
    world_ = *std::move(made);
    proxy_ = std::make_unique<ApiProxy>(world_->primary());
    ASSERT_EQ(world_->StartAgents(
                  {.namespaces = {kShop}, .primary_kubeconfig = proxy_->Kubeconfig(), .sync_on_demand = true}),
              absl::OkStatus());
    for (const char* name : {"db", "web"}) ASSERT_EQ(world_->Create(kShop, name), absl::OkStatus());
    ASSERT_EQ(world_->ExpectEqual(kPatience), absl::OkStatus());
  }
  void Expect(const std::string& what, const std::function<bool()>& predicate) {
    EXPECT_EQ(WaitFor(what, kPatience, predicate), absl::OkStatus())
        << world_->site().Drctl({"status", "-o", "json"}).out << world_->site().primary().Err();
  }
  // Empty when there is no such volume.
  std::string StateOf(const std::string& volume) {
    const json document = world_->Drctl({"volumes", "list"});
    for (const json& found : document.value("volumes", json::array())) {
      if (found.at("name") == volume) return found.at("state");
    }
    return {};
  }
  // While the agent sees nothing of the cluster, which forgets meanwhile what it was.
  void BehindItsBack(const std::function<void()>& change) {
    proxy_->SetMode(ApiProxy::Mode::kErrors);
    change();
    // So that history is forgotten past whatever the agent has seen of it, also when nothing else has changed.
    ASSERT_TRUE(world_->primary()
                    .Post("/api/v1/namespaces/default/configmaps", {{"metadata", {{"generateName", "behind-"}}}})
                    .ok());
    ASSERT_EQ(world_->primary().Compact(), absl::OkStatus());
    // The server answers from its memory; a new one remembers only what etcd does.
    world_->primary().StopApi();
    ASSERT_EQ(world_->primary().StartApi(), absl::OkStatus());
    proxy_->SetMode(ApiProxy::Mode::kPass);
  }
  // What DR's trash holds of the volume.
  std::string IdInTrash(const std::string& volume) {
    std::string id;
    Expect("the trash to hold it", [&] {
      const json document = world_->Drctl({"trash", "list"});
      for (const json& entry : document.value("trash", json::array())) {
        if (entry.at("volume") == volume && entry.at("state") == "trashed") id = entry.at("id");
      }
      return !id.empty();
    });
    return id;
  }

  std::unique_ptr<ClusterSite> world_;
  std::unique_ptr<ApiProxy> proxy_;
};

TEST_F(VolumeEndTest, WhatAProvisionerDeletesBeforeTheVolumeIsWholeInTheTrash) {
  Site& site = world_->site();
  const std::string folder = site.Volume("pv-db");
  for (int i = 0; i < kFiles; ++i) std::ofstream(fmt::format("{}/{}", folder, i)) << i;
  ASSERT_EQ(site.Sync("pv-db"), absl::OkStatus());
  const std::string volume = fmt::format("{}/pv-db", kVolumes);
  // Kubernetes leaves the data to whom the annotation names.
  ASSERT_TRUE(
      world_->primary()
          .MergePatch(volume, {{"metadata", {{"annotations", {{"pv.kubernetes.io/provisioned-by", "test/nfs"}}}}},
                               {"spec", {{"persistentVolumeReclaimPolicy", "Delete"}}}})
          .ok());
  ASSERT_TRUE(world_->primary().Delete(fmt::format("{}/db", kClaims)).ok());
  Expect("the volume to be paused", [&] { return StateOf("pv-db") == "paused"; });
  EXPECT_EQ(site.Drctl({"volumes", "sync", "pv-db"}).exit_code, 5);

  for (int i = 0; i < kFiles; ++i) std::filesystem::remove(fmt::format("{}/{}", folder, i));
  std::filesystem::remove_all(folder);
  ASSERT_EQ(site.Sync("pv-web"), absl::OkStatus());  // whatever was noticed before it has had its turn
  EXPECT_TRUE(std::filesystem::exists(site.Replica("pv-db") + "/0"));
  ASSERT_TRUE(world_->primary().Delete(volume).ok());
  EXPECT_EQ(world_->ExpectEqual(kPatience), absl::OkStatus());
  const ProcessResult restored = site.Drctl({"trash", "restore", IdInTrash("pv-db")});
  ASSERT_EQ(restored.exit_code, 0) << restored.err;
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_TRUE(std::filesystem::exists(fmt::format("{}/{}", site.Replica("pv-db"), i))) << i;
  }
}

TEST_F(VolumeEndTest, AVolumeThatWasMadeAnewElsewhereWhileNobodyWatchedIsSoAtDr) {
  Site& site = world_->site();
  BehindItsBack([&] {
    json volume = *world_->primary().Get(fmt::format("{}/pv-db", kVolumes));
    json claim = *world_->primary().Get(fmt::format("{}/db", kClaims));
    ASSERT_EQ(world_->Delete(kShop, "db"), absl::OkStatus());
    std::filesystem::create_directories(site.Volume("elsewhere"));
    std::ofstream(site.Volume("elsewhere") + "/content") << "anew";
    volume["spec"]["nfs"]["path"] = site.Volume("elsewhere");
    volume["spec"]["claimRef"] = {{"namespace", kShop}, {"name", "db"}};
    for (json* const object : {&volume, &claim}) {
      (*object)["metadata"] = {{"name", object->at("metadata").at("name")}};
      object->erase("status");
    }
    claim["metadata"]["labels"] = {{"step", "9"}};
    ASSERT_TRUE(world_->primary().Post(kVolumes, volume).ok());
    ASSERT_TRUE(world_->primary().Post(kClaims, claim).ok());
  });
  const auto path_at_dr = [&] {
    const auto volume = world_->dr().Get(fmt::format("{}/pv-db", kVolumes));
    return volume.ok() ? volume->at("spec").at("nfs").value("path", "") : std::string(volume.status().ToString());
  };
  Expect("DR's PersistentVolume to be the new one",
         [&] { return path_at_dr() == site.Replica("elsewhere") && world_->Compare().ok(); });
  EXPECT_EQ(path_at_dr(), site.Replica("elsewhere"));
  EXPECT_EQ(site.Sync("pv-db"), absl::OkStatus());
  EXPECT_TRUE(std::filesystem::exists(site.Replica("elsewhere") + "/content"));
  EXPECT_FALSE(std::filesystem::exists(site.Replica("pv-db")));
  // The agent's own folder is beside the export.
  const std::filesystem::path exported = std::filesystem::path(site.Replica("pv-db")).parent_path();
  const std::filesystem::path own = exported.parent_path() / ".understudy";
  EXPECT_TRUE(std::filesystem::exists(own / "trash" / IdInTrash("pv-db") / "data/content")) << own;
}

TEST_F(VolumeEndTest, WhatIsCleanedUpAtTheOldPrimaryStaysAtDrUntilItsVolumeIsDemoted) {
  Site& site = world_->site();
  const std::string paths[] = {fmt::format("{}/web", kClaims), fmt::format("{}/pv-web", kVolumes)};
  json before[2];
  for (int i = 0; i < 2; ++i) before[i] = *world_->dr().Get(paths[i]);
  const ProcessResult promoted = site.Drctl({"volumes", "promote", "pv-web", "--yes"});
  ASSERT_EQ(promoted.exit_code, 0) << promoted.err;

  ASSERT_EQ(world_->Delete(kShop, "web"), absl::OkStatus());
  const auto held = [&] {
    int count = 0;
    for (const json& pair : world_->Drctl({"status"}).value("pairs", json::array())) {
      if (!pair.at("primary").is_object() || !pair.at("primary").at("objects").is_object()) continue;
      for (const json& problem : pair.at("primary").at("objects").at("problems")) {
        const std::string reason = problem.at("reason");
        if (problem.at("held") == true &&
            reason.find("held back while volume 'pv-web' is active at DR") != std::string::npos)
          ++count;
      }
    }
    return count;
  };
  Expect("both deletions to be held", [&] { return held() == 2; });
  const json report = world_->Drctl({"sync", "run"});
  int skipped = 0;
  for (const json& object : report.at("objects")) {
    if (object.at("volume") != "pv-web") continue;
    ++skipped;
    EXPECT_EQ(object.at("outcome"), "skipped") << object;
    EXPECT_THAT(object.at("reason").get<std::string>(), testing::HasSubstr("is active"));
  }
  EXPECT_EQ(skipped, 2) << report.dump(2);
  EXPECT_EQ(report.at("result"), "done") << report.dump(2);
  // A change to something else comes through drctl serve after whatever it would have made of the deletions.
  ASSERT_EQ(world_->Change(kShop, "db", 1), absl::OkStatus());
  Expect("the change at DR", [&] {
    const auto claim = world_->dr().Get(fmt::format("{}/db", kClaims));
    return claim.ok() && claim->at("metadata").at("labels").at("step") == "1";
  });
  for (int i = 0; i < 2; ++i) {
    const auto now = world_->dr().Get(paths[i]);
    ASSERT_TRUE(now.ok()) << now.status();
    EXPECT_EQ(now->at("metadata").at("uid"), before[i].at("metadata").at("uid"));
    EXPECT_EQ(now->at("status").at("phase"), "Bound");
    EXPECT_FALSE(now->at("metadata").contains("deletionTimestamp")) << now->dump(2);
  }
  EXPECT_TRUE(world_->DeletionsAtDr().empty());

  const ProcessResult demoted = site.Drctl({"volumes", "demote", "pv-web", "--yes"});
  ASSERT_EQ(demoted.exit_code, 0) << demoted.err;
  EXPECT_EQ(world_->ExpectEqual(kPatience), absl::OkStatus());
  for (const std::string& path : paths) EXPECT_TRUE(absl::IsNotFound(world_->dr().Get(path).status())) << path;
  // What was written there since is nothing that the primary may take away.
  EXPECT_TRUE(std::filesystem::exists(site.Replica("pv-web") + "/content"));
}

TEST_F(VolumeEndTest, ACatalogThatDrLostIsFilledAgain) {
  Site& site = world_->site();
  site.dr().Kill();
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::filesystem::remove(site.File(std::string("state-dr/catalog.db") + suffix));
  }
  ASSERT_EQ(site.StartDr(), absl::OkStatus());
  const auto objects_in_catalog = [&] {
    const json document = world_->Drctl({"status"});
    const json pairs = document.value("pairs", json::array());
    if (pairs.empty() || !pairs[0].at("standby").is_object()) return -1;
    const json applied = pairs[0].at("standby").value("applied", json());  // null while it isn't known
    return applied.is_number() ? applied.get<int>() : -1;
  };
  Expect("the catalog to be empty", [&] { return objects_in_catalog() == 0; });
  // No object has changed: only the comparison with a list can tell what is missing.
  BehindItsBack([] {});
  Expect("both volumes and claims", [&] { return objects_in_catalog() == 4; });
  EXPECT_EQ(world_->ExpectEqual(kPatience), absl::OkStatus());
  EXPECT_TRUE(world_->DeletionsAtDr().empty());
}

}  // namespace
}  // namespace understudy::tests
