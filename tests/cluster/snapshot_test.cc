// Snapshots of csi-driver-nfs on two real clusters, with both agents and drctl serve: what is at DR is usable there,
// and what isn't is told.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/cluster/cluster_site.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr char kShop[] = "shop";
constexpr char kContents[] = "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents";
constexpr char kSnapshots[] = "/apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots";
// drctl serve looks for a missing archive again within a minute.
constexpr absl::Duration kPatience = absl::Minutes(3);

std::string ContentPath(const std::string& name) {
  return fmt::format("{}/content-{}", kContents, name);
}
std::string SnapshotPath(const std::string& name) {
  return fmt::format("{}/{}", kSnapshots, name);
}

class SnapshotClusterTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = ClusterSite::StartClusters({kShop});
    ASSERT_TRUE(made.ok()) << made.status();
    world_ = *std::move(made);
    ASSERT_EQ(world_->StartAgents({.namespaces = {kShop}, .sync_on_demand = true}), absl::OkStatus());
  }

  std::string Share() { return std::filesystem::path(world_->site().Volume("x")).parent_path(); }
  std::string ReplicaShare() { return std::filesystem::path(world_->site().Replica("x")).parent_path(); }
  std::string Archive(const std::string& name) { return world_->site().Volume(name) + "/pvc-1.tar.gz"; }

  void WriteArchive(const std::string& name) {
    std::filesystem::create_directories(world_->site().Volume(name));
    std::ofstream(Archive(name)) << "archive of " << name;
  }
  // As the snapshot controller and the driver leave it: ready, whether the archive is there or not.
  void MakeSnapshot(const std::string& name) {
    std::filesystem::create_directories(world_->site().Volume(name));
    const std::string handle = fmt::format("nfs1#{}#{}#{}#pvc-1", Share().substr(1), name, name);
    Make(kContents, ContentPath(name),
         {{"apiVersion", "snapshot.storage.k8s.io/v1"},
          {"kind", "VolumeSnapshotContent"},
          {"metadata", {{"name", "content-" + name}}},
          {"spec",
           {{"driver", "nfs.csi.k8s.io"},
            {"deletionPolicy", "Delete"},
            {"source", {{"volumeHandle", "nfs1#share#pvc-1##"}}},
            {"volumeSnapshotRef", {{"namespace", kShop}, {"name", name}}}}}},
         {{"readyToUse", true}, {"snapshotHandle", handle}});
    Make(kSnapshots, SnapshotPath(name),
         {{"apiVersion", "snapshot.storage.k8s.io/v1"},
          {"kind", "VolumeSnapshot"},
          {"metadata", {{"name", name}}},
          {"spec", {{"source", {{"persistentVolumeClaimName", "db"}}}}}},
         {{"readyToUse", true}, {"boundVolumeSnapshotContentName", "content-" + name}});
  }
  void Make(const std::string& collection, const std::string& path, const json& object, const json& status) {
    ASSERT_TRUE(world_->primary().Post(collection, object).ok());
    const auto patched = world_->primary().MergePatch(path + "/status", {{"status", status}});
    ASSERT_TRUE(patched.ok()) << patched.status();
  }
  // As the snapshot controller at DR does with what is there.
  void BindAtDr(const std::string& name) {
    const auto snapshot = world_->dr().Get(SnapshotPath(name));
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    const auto bound = world_->dr().MergePatch(
        ContentPath(name), {{"spec", {{"volumeSnapshotRef", {{"uid", snapshot->at("metadata").at("uid")}}}}}});
    ASSERT_TRUE(bound.ok()) << bound.status();
    for (const std::string& path : {ContentPath(name), SnapshotPath(name)}) {
      ASSERT_TRUE(world_->dr().MergePatch(path + "/status", {{"status", {{"readyToUse", true}}}}).ok());
    }
  }
  void ExpectAtDr(const std::string& path) {
    EXPECT_EQ(WaitFor(path + " to be at DR", kPatience, [&] { return world_->dr().Get(path).ok(); }), absl::OkStatus())
        << world_->site().Drctl({"status"}).out << world_->site().primary().Err() << world_->site().serve().Err();
  }
  void ExpectGoneAtDr(const std::string& path) {
    EXPECT_EQ(WaitFor(path + " to be gone at DR", kPatience,
                      [&] { return absl::IsNotFound(world_->dr().Get(path).status()); }),
              absl::OkStatus());
  }
  // What drctl status says of an object that isn't ready at DR.
  std::string ReasonInStatus(const std::string& name) {
    const json status = world_->Drctl({"status"});
    if (!status.is_object()) return {};
    for (const json& problem : status["pairs"][0]["standby"].value("problems", json::array())) {
      if (problem.at("name") == name) return problem.at("reason");
    }
    return {};
  }
  static std::string ReasonInReport(const json& report, const std::string& name, const std::string& outcome) {
    for (const json& object : report.value("objects", json::array())) {
      if (object.at("name") == name && object.at("outcome") == outcome) return object.value("reason", "");
    }
    return report.dump(2);
  }

  std::unique_ptr<ClusterSite> world_;
};

TEST_F(SnapshotClusterTest, ASnapshotWhoseArchiveIsAtDrIsUsableThereUntilItIsDeleted) {
  WriteArchive("nightly");
  MakeSnapshot("nightly");
  ExpectAtDr(SnapshotPath("nightly"));
  const auto content = world_->dr().Get(ContentPath("nightly"));
  ASSERT_TRUE(content.ok()) << content.status();
  const json& spec = content->at("spec");
  EXPECT_EQ(spec.at("deletionPolicy"), "Retain");
  EXPECT_EQ(spec.at("source"),
            json({{"snapshotHandle", fmt::format("127.0.0.1#{}#nightly#nightly#pvc-1", ReplicaShare().substr(1))}}));
  EXPECT_EQ(spec.at("volumeSnapshotRef"), json({{"namespace", kShop}, {"name", "nightly"}}));
  EXPECT_EQ(world_->dr().Get(SnapshotPath("nightly"))->at("spec").at("source"),
            json({{"volumeSnapshotContentName", "content-nightly"}}));
  std::ifstream replica(world_->site().Replica("nightly") + "/pvc-1.tar.gz");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(replica), {}), "archive of nightly");

  EXPECT_THAT(ReasonInStatus("content-nightly"), HasSubstr("isn't ready to use yet"));
  EXPECT_THAT(ReasonInStatus("nightly"), HasSubstr("isn't ready to use yet"));
  BindAtDr("nightly");
  const ProcessResult run = world_->site().Drctl({"sync", "run", "-o", "json"});
  EXPECT_EQ(run.exit_code, 0) << "what is bound is applied again: " << run.out << run.err;
  EXPECT_EQ(ReasonInStatus("content-nightly"), "");
  EXPECT_EQ(ReasonInStatus("nightly"), "");

  ASSERT_TRUE(world_->primary().Delete(SnapshotPath("nightly")).ok());
  ASSERT_TRUE(world_->primary().Delete(ContentPath("nightly")).ok());
  ExpectGoneAtDr(SnapshotPath("nightly"));
  ExpectGoneAtDr(ContentPath("nightly"));
  EXPECT_EQ(WaitFor("the archive to be in the trash", kPatience,
                    [&] { return !std::filesystem::exists(world_->site().Replica("nightly")); }),
            absl::OkStatus());
  EXPECT_THAT(world_->site().Drctl({"trash", "list"}).out, HasSubstr("content-nightly"));
}

TEST_F(SnapshotClusterTest, ASnapshotWithoutItsArchiveIsToldAndIsAppliedWhenTheArchiveComes) {
  MakeSnapshot("late");
  EXPECT_EQ(WaitFor("the missing archive to be told", kPatience,
                    [&] { return ReasonInStatus("content-late").find("isn't at DR") != std::string::npos; }),
            absl::OkStatus())
      << world_->site().Drctl({"status"}).out << world_->site().primary().Err();
  EXPECT_THAT(ReasonInStatus("content-late"), HasSubstr("pvc-1.tar.gz"));
  const ProcessResult run = world_->site().Drctl({"sync", "run", "-o", "json"});
  EXPECT_EQ(run.exit_code, 1) << "all that there was to do failed: " << run.err;
  const json report = json::parse(run.out, nullptr, /*allow_exceptions=*/false);
  EXPECT_THAT(ReasonInReport(report, "content-late", "failed"), HasSubstr("isn't at DR"));
  EXPECT_THAT(ReasonInReport(report, "late", "failed"), HasSubstr("waits for VolumeSnapshotContent content-late"));
  EXPECT_TRUE(absl::IsNotFound(world_->dr().Get(ContentPath("late")).status()));
  EXPECT_TRUE(absl::IsNotFound(world_->dr().Get(SnapshotPath("late")).status()));

  WriteArchive("late");
  ExpectAtDr(ContentPath("late"));
  ExpectAtDr(SnapshotPath("late"));
  BindAtDr("late");
  EXPECT_EQ(ReasonInStatus("content-late"), "");
  EXPECT_EQ(world_->site().Drctl({"sync", "run", "-o", "json"}).exit_code, 0);
}

}  // namespace
}  // namespace understudy::tests
