#include "control/oadp/backup_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/velero_archive.h"

namespace understudy::control {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using tests::MakeClaim;
using tests::MakeSnapshot;
using tests::MakeSnapshotContent;
using tests::MakeVirtualMachine;
using tests::MakeVolume;

BackupContents Whole() {
  BackupContents contents;
  contents.claims = {MakeClaim("shop", "data", "pv-1")};
  contents.persistent_volumes = {MakeVolume("pv-1", "shop", "data")};
  contents.virtual_machines = {MakeVirtualMachine("shop", "web", "data")};
  contents.snapshots = {MakeSnapshot("shop", "snap", "content-1")};
  contents.snapshot_contents = {MakeSnapshotContent("content-1", "shop", "snap")};
  return contents;
}

TEST(FindGaps, AWholeBackupHasNone) {
  EXPECT_THAT(FindGaps(Whole()), IsEmpty());
}

TEST(FindGaps, NamesWhatIsMissing) {
  BackupContents contents = Whole();
  contents.persistent_volumes.clear();
  contents.snapshot_contents.clear();
  EXPECT_THAT(FindGaps(contents), ElementsAre("claim shop/data is bound to volume pv-1, which isn't in the backup",
                                              HasSubstr("snapshot shop/snap has its content in content-1")));
  contents = Whole();
  contents.claims.clear();
  EXPECT_THAT(FindGaps(contents), ElementsAre("virtual machine shop/web uses claim data, which isn't in the backup"));
}

TEST(FindGaps, NamesWhatDoesntFit) {
  BackupContents contents = Whole();
  contents.claims[0]["spec"].erase("volumeName");
  contents.snapshots[0]["status"]["readyToUse"] = false;
  EXPECT_THAT(FindGaps(contents), ElementsAre(HasSubstr("shop/data isn't bound"), HasSubstr("shop/snap wasn't ready")));
  contents = Whole();
  contents.persistent_volumes = {MakeVolume("pv-1", "bank", "other")};
  EXPECT_THAT(FindGaps(contents), ElementsAre(HasSubstr("pv-1, which belongs to claim bank/other")));
}

TEST(FindGaps, ShapesThatNoApiServerGaveAreBorne) {
  BackupContents contents;
  contents.claims.push_back({{"spec", 7}, {"metadata", {{"name", 7}}}});
  contents.persistent_volumes.push_back({{"spec", {{"claimRef", "x"}}}, {"metadata", json::array()}});
  const json volumes = {1, "x", {{"dataVolume", "y"}}};
  contents.virtual_machines.push_back({{"spec", {{"template", {{"spec", {{"volumes", volumes}}}}}}}});
  contents.virtual_machines.push_back({{"spec", {{"template", {{"spec", {{"volumes", "none"}}}}}}}});
  contents.snapshots.push_back({{"status", {{"readyToUse", "yes"}}}});
  EXPECT_FALSE(FindGaps(contents).empty());
  EXPECT_FALSE(StorageByClass(contents).empty());
}

TEST(ClaimsOfMachine, ThatItsVolumesName) {
  json machine = MakeVirtualMachine("shop", "web", "root");
  json& volumes = machine["spec"]["template"]["spec"]["volumes"];
  volumes.push_back({{"name", "more"}, {"dataVolume", {{"name", "imported"}}}});
  volumes.push_back({{"name", "scratch"}, {"ephemeral", {{"persistentVolumeClaim", {{"claimName", "base"}}}}}});
  volumes.push_back({{"name", "again"}, {"persistentVolumeClaim", {{"claimName", "root"}}}});
  volumes.push_back({{"name", "cloudinit"}, {"cloudInitNoCloud", {{"userData", "#cloud-config"}}}});
  EXPECT_THAT(ClaimsOfMachine(machine), ElementsAre("base", "imported", "root"));
}

TEST(StorageByClass, ListsClaimsAndVolumes) {
  BackupContents contents = Whole();
  json old_style = MakeClaim("bank", "ledger", "pv-2");
  old_style["spec"].erase("storageClassName");
  old_style["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"] = "gold";
  contents.claims.push_back(old_style);
  contents.claims.push_back(MakeClaim("bank", "a", "pv-3"));
  const auto by_class = StorageByClass(contents);
  ASSERT_EQ(by_class.size(), 2);
  EXPECT_THAT(by_class.at("gold").claims, ElementsAre(NamespacedName{"bank", "ledger"}));
  EXPECT_THAT(by_class.at("nfs").claims, ElementsAre(NamespacedName{"bank", "a"}, NamespacedName{"shop", "data"}));
  EXPECT_THAT(by_class.at("nfs").volumes, ElementsAre("pv-1"));
}

}  // namespace
}  // namespace understudy::control
