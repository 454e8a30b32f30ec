#include "control/failover/storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "control/failover/kept_storage.h"
#include "control/failover/rehearsal_steps.h"
#include "tests/support/temp_dir.h"

namespace understudy::control {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

json VolumeObject(const std::string& name, const std::string& namespace_name, const std::string& claim) {
  return {{"kind", "PersistentVolume"},
          {"metadata", {{"name", name}, {"uid", "uid-" + name}}},
          {"spec",
           {{"nfs", {{"server", "nfs1"}, {"path", "/srv/a/" + name}}},
            {"storageClassName", "nfs"},
            {"claimRef", {{"namespace", namespace_name}, {"name", claim}}}}}};
}

json ClaimObject(const std::string& namespace_name, const std::string& name, const std::string& volume) {
  return {{"kind", "PersistentVolumeClaim"},
          {"metadata", {{"namespace", namespace_name}, {"name", name}, {"uid", "uid-" + name}}},
          {"spec", {{"volumeName", volume}, {"storageClassName", "nfs"}}}};
}

model::CatalogEntry EntryOf(model::ObjectKind kind, const json& object, const std::string& volume) {
  return {.key = {kind, object["metadata"].value("namespace", ""), object["metadata"]["name"]},
          .uid = object["metadata"]["uid"],
          .resource = object.dump(),
          .volume = volume,
          .replica_path = "/srv/b/" + volume,
          .server = "nfs1",
          .observed_at = absl::UnixEpoch()};
}

PairStorage East() {
  PairStorage pair{.pair = "east"};
  pair.replicas.push_back({.volume = "pv-db", .root = "/srv/b/pv-db"});
  pair.volumes.push_back(EntryOf(model::ObjectKind::kPersistentVolume, VolumeObject("pv-db", "shop", "db"), "pv-db"));
  pair.claims.push_back(
      EntryOf(model::ObjectKind::kPersistentVolumeClaim, ClaimObject("shop", "db", "pv-db"), "pv-db"));
  return pair;
}

TEST(FindStorage, AClaimOfTheCatalogIsFoundWithItsReplica) {
  const Storage storage = *FindStorage({"shop"}, {East()}, {});
  ASSERT_THAT(storage.claims, SizeIs(1));
  const ClaimDefinition& claim = storage.claims[0];
  EXPECT_EQ(claim.volume.Key(), "east/pv-db");
  EXPECT_EQ(claim.volume.claim, "shop/db");
  EXPECT_EQ(claim.volume.replica_path, "/srv/b/pv-db");
  EXPECT_EQ(claim.volume.storage_class, "nfs");
  EXPECT_FALSE(claim.from_backup);
  EXPECT_THAT(storage.other, IsEmpty());
  EXPECT_THAT(FindStorage({"elsewhere"}, {East()}, {})->claims, IsEmpty());
}

TEST(FindStorage, WhatTheCatalogLacksComesFromTheBackupWhenThereIsAReplica) {
  PairStorage pair = East();
  pair.volumes.clear();
  pair.claims.clear();
  const BackupObjects backup{.volumes = {VolumeObject("pv-db", "shop", "db")},
                             .claims = {ClaimObject("shop", "db", "pv-db")}};
  const Storage storage = *FindStorage({"shop"}, {pair}, backup);
  ASSERT_THAT(storage.claims, SizeIs(1));
  EXPECT_TRUE(storage.claims[0].from_backup);
  EXPECT_EQ(storage.claims[0].volume_entry.replica_path, "/srv/b/pv-db");
  EXPECT_EQ(storage.claims[0].volume_entry.server, "nfs1");
}

TEST(FindStorage, TheCatalogCountsMoreThanTheBackup) {
  json older = ClaimObject("shop", "db", "pv-old");
  const BackupObjects backup{.volumes = {VolumeObject("pv-old", "shop", "db")}, .claims = {older}};
  const Storage storage = *FindStorage({"shop"}, {East()}, backup);
  ASSERT_THAT(storage.claims, SizeIs(1));
  EXPECT_EQ(storage.claims[0].volume.persistent_volume, "pv-db");
  EXPECT_THAT(storage.other, IsEmpty());
}

TEST(FindStorage, StorageThatNoPairHasIsNamed) {
  json block = VolumeObject("pv-block", "shop", "block");
  block["spec"].erase("nfs");
  block["spec"]["rbd"] = {{"image", "x"}};
  const BackupObjects backup{
      .volumes = {block, VolumeObject("pv-lost", "shop", "lost")},
      .claims = {ClaimObject("shop", "block", "pv-block"), ClaimObject("shop", "lost", "pv-lost"),
                 ClaimObject("shop", "orphan", "pv-nowhere"), ClaimObject("other", "x", "pv-block")}};
  const Storage storage = *FindStorage({"shop"}, {East()}, backup);
  ASSERT_THAT(storage.other, SizeIs(3));
  EXPECT_EQ(storage.other[0].claim, "shop/block");
  EXPECT_THAT(storage.other[0].why, HasSubstr("NFS"));
  EXPECT_EQ(storage.other[1].claim, "shop/lost");
  EXPECT_THAT(storage.other[1].why, HasSubstr("no pair"));
  EXPECT_THAT(storage.other[2].why, HasSubstr("PersistentVolume"));
}

TEST(FindStorage, AVolumeOfAnotherClaimIsNotTaken) {
  PairStorage pair = East();
  pair.volumes[0].resource = VolumeObject("pv-db", "shop", "somebody-else").dump();
  EXPECT_THAT(FindStorage({"shop"}, {pair}, {})->claims, IsEmpty());
}

BackupObjects BackupOfDb() {
  return {.volumes = {VolumeObject("pv-db", "shop", "db")}, .claims = {ClaimObject("shop", "db", "pv-db")}};
}

TEST(FindStorage, WhatWasDeletedSinceTheBackupStaysDeleted) {
  PairStorage pair = East();
  pair.claims[0].deleted = true;
  const Storage storage = *FindStorage({"shop"}, {pair}, BackupOfDb());
  EXPECT_THAT(storage.claims, IsEmpty());
  EXPECT_THAT(storage.other, IsEmpty());
  EXPECT_THAT(storage.warnings, ElementsAre(HasSubstr("shop/db is left out")));
  // Another claim of that name, made after the tombstone.
  pair.claims[0].uid = "uid-of-an-earlier-one";
  EXPECT_THAT(FindStorage({"shop"}, {pair}, BackupOfDb())->claims, SizeIs(1));
}

TEST(FindStorage, AReplicaOfAnotherServerOrPathIsNotTheBackups) {
  PairStorage pair = East();
  pair.claims.clear();
  pair.server_names = {"nfs9"};
  EXPECT_THAT(FindStorage({"shop"}, {pair}, BackupOfDb())->claims, IsEmpty());
  pair.server_names = {"nfs1"};
  EXPECT_THAT(FindStorage({"shop"}, {pair}, BackupOfDb())->claims, SizeIs(1));
  json elsewhere = VolumeObject("pv-db", "shop", "db");
  elsewhere["spec"]["nfs"]["path"] = "/srv/a/other";
  pair.volumes[0].resource = elsewhere.dump();
  EXPECT_THAT(FindStorage({"shop"}, {pair}, BackupOfDb())->claims, IsEmpty());
}

TEST(FindStorage, TwoPairsThatMayHoldItAreNamed) {
  PairStorage east = East();
  east.claims.clear();
  east.volumes.clear();
  PairStorage west = east;
  west.pair = "west";
  EXPECT_THAT(FindStorage({"shop"}, {east, west}, BackupOfDb()).status().message(),
              AllOf(HasSubstr("east"), HasSubstr("west"), HasSubstr("server_names")));
  west.server_names = {"nfs7"};
  EXPECT_EQ(FindStorage({"shop"}, {east, west}, BackupOfDb())->claims.at(0).volume.pair, "east");
}

TEST(FindStorage, APairThatCannotBeReachedMattersWhenAClaimMayBeThere) {
  PairStorage west{.pair = "west", .unreachable = absl::UnavailableError("no answer")};
  const absl::StatusOr<Storage> found = FindStorage({"shop"}, {East(), west}, BackupOfDb());
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(found->warnings, ElementsAre(HasSubstr("pair west can't be reached")));
  BackupObjects more = BackupOfDb();
  more.volumes.push_back(VolumeObject("pv-web", "shop", "web"));
  more.claims.push_back(ClaimObject("shop", "web", "pv-web"));
  EXPECT_THAT(FindStorage({"shop"}, {East(), west}, more).status().message(), HasSubstr("shop/web"));
  west.server_names = {"nfs7"};
  EXPECT_THAT(FindStorage({"shop"}, {East(), west}, more)->other, SizeIs(1));
  EXPECT_FALSE(FindStorage({"shop"}, {East(), west}, {}, /*has_backup=*/false).ok());
}

TEST(KeptStorage, IsReadAsItWasWritten) {
  const tests::TempDir folder;
  EXPECT_TRUE(absl::IsNotFound(ReadKeptClaims(folder.Path()).status()));
  std::vector<ClaimDefinition> claims = FindStorage({"shop"}, {East()}, {})->claims;
  claims[0].volume_entry.replica_path = "/srv/b/\xff\xfe";
  ASSERT_EQ(KeepClaims(folder.Path(), claims), absl::OkStatus());
  const auto kept = ReadKeptClaims(folder.Path());
  ASSERT_TRUE(kept.ok()) << kept.status();
  ASSERT_THAT(*kept, SizeIs(1));
  EXPECT_EQ(kept->at(0).volume.Key(), "east/pv-db");
  EXPECT_EQ(kept->at(0).volume_entry.replica_path, "/srv/b/\xff\xfe");
  EXPECT_EQ(kept->at(0).claim_entry.key, claims[0].claim_entry.key);
  EXPECT_EQ(kept->at(0).claim_entry.resource, claims[0].claim_entry.resource);
  const auto mode = std::filesystem::status(folder.File(kKeptStorageFile)).permissions();
  EXPECT_EQ(mode, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::ofstream(folder.File(kKeptStorageFile)) << "{";
  EXPECT_TRUE(absl::IsDataLoss(ReadKeptClaims(folder.Path()).status()));
}

TEST(Rehearsal, ItsObjectsHaveNamesOfTheirOwnAndAreNoStandby) {
  TestManifests manifests{.volume = VolumeObject("pv-db", "shop", "db"), .claim = ClaimObject("shop", "db", "pv-db")};
  for (json* const object : {&manifests.volume, &manifests.claim}) {
    (*object)["metadata"]["labels"] = {{kManagedByLabel, kManagedByValue}, {"app", "db"}};
    (*object)["metadata"]["annotations"] = {{kSourceUidAnnotation, "u"}};
  }
  const RunSpec run{.id = "20260102T030405Z-1f2e", .plan = "shop"};
  const TestManifests own = ForRehearsal(manifests, run, {.namespace_suffix = "-drtest"});
  EXPECT_EQ(own.volume["metadata"]["name"], "pv-db-20260102t030405z-1f2e");
  EXPECT_EQ(own.volume["spec"]["claimRef"]["namespace"], "shop-drtest");
  EXPECT_EQ(own.volume["spec"]["claimRef"]["name"], "db");
  EXPECT_EQ(own.claim["metadata"]["namespace"], "shop-drtest");
  EXPECT_EQ(own.claim["metadata"]["name"], "db");
  EXPECT_EQ(own.claim["spec"]["volumeName"], own.volume["metadata"]["name"]);
  EXPECT_FALSE(own.volume["metadata"]["labels"].contains(kManagedByLabel));
  EXPECT_FALSE(own.claim["metadata"]["annotations"].contains(kSourceUidAnnotation));
  EXPECT_EQ(own.claim["metadata"]["labels"]["app"], "db");
  EXPECT_LE(TestVolumeName(run, std::string(253, 'n')).size(), 253U);
}

// By claim: is it kept, where its volume is live and which clusters have it?
TEST(KeepWhatIsThere, AClaimIsWhereItsVolumeIsLiveOrNowhere) {
  const struct {
    const char* when;
    std::optional<LiveView> live;
    bool at_dr;
    bool at_primary;
    bool goes_back;
    bool is_turned;
  } cases[] = {
      {"live at DR", LiveView{.turned = true}, true, true, true, true},
      {"deleted at DR", LiveView{.turned = true}, false, true, true, false},
      {"deleted at both", LiveView{.turned = true}, false, false, false, false},
      {"made at DR", std::nullopt, true, false, true, true},
      {"failed back, and not turned yet", LiveView{.at_primary = true}, true, true, true, true},
      {"came home", LiveView{.at_primary = true, .turned = true}, true, true, false, true},
      {"came home and was deleted there", LiveView{.at_primary = true, .turned = true}, true, false, false, false},
      {"gone everywhere", std::nullopt, false, false, false, false},
  };
  for (const auto& each : cases) {
    PairStorage pair = East();
    if (each.live) pair.live["pv-db"] = *each.live;
    SiteClaims claims;
    if (each.at_dr) claims.at_dr["shop/db"] = "pv-db";
    if (each.at_primary) claims.at_primary["shop/db"] = "pv-db";
    for (const RunMode mode : {RunMode::kFailback, RunMode::kReprotect}) {
      Storage storage = *FindStorage({"shop"}, {pair}, {});
      KeepWhatIsThere(claims, {pair}, mode, storage);
      EXPECT_EQ(!storage.claims.empty(), mode == RunMode::kFailback ? each.goes_back : each.is_turned)
          << each.when << " " << static_cast<int>(mode);
    }
  }
}

TEST(KeepWhatIsThere, AClaimThatIsOnAnotherVolumeByNowIsAnother) {
  const PairStorage pair = East();
  Storage storage = *FindStorage({"shop"}, {pair}, {});
  KeepWhatIsThere({.at_dr = {{"shop/db", "pv-anew"}}}, {pair}, RunMode::kFailback, storage);
  EXPECT_THAT(storage.claims, IsEmpty());
}

}  // namespace
}  // namespace understudy::control
