#include "control/failover/storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/failover/rehearsal_steps.h"

namespace understudy::control {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using nlohmann::json;

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
  pair.claims.push_back(EntryOf(model::ObjectKind::kPersistentVolumeClaim, ClaimObject("shop", "db", "pv-db"), "pv-db"));
  return pair;
}

TEST(FindStorage, AClaimOfTheCatalogIsFoundWithItsReplica) {
  const Storage storage = FindStorage({"shop"}, {East()}, {});
  ASSERT_THAT(storage.claims, SizeIs(1));
  const ClaimDefinition& claim = storage.claims[0];
  EXPECT_EQ(claim.volume.Key(), "east/pv-db");
  EXPECT_EQ(claim.volume.claim, "shop/db");
  EXPECT_EQ(claim.volume.replica_path, "/srv/b/pv-db");
  EXPECT_EQ(claim.volume.storage_class, "nfs");
  EXPECT_FALSE(claim.from_backup);
  EXPECT_THAT(storage.other, IsEmpty());
  EXPECT_THAT(FindStorage({"elsewhere"}, {East()}, {}).claims, IsEmpty());
}

TEST(FindStorage, WhatTheCatalogLacksComesFromTheBackupWhenThereIsAReplica) {
  PairStorage pair = East();
  pair.volumes.clear();
  pair.claims.clear();
  const BackupObjects backup{.volumes = {VolumeObject("pv-db", "shop", "db")},
                             .claims = {ClaimObject("shop", "db", "pv-db")}};
  const Storage storage = FindStorage({"shop"}, {pair}, backup);
  ASSERT_THAT(storage.claims, SizeIs(1));
  EXPECT_TRUE(storage.claims[0].from_backup);
  EXPECT_EQ(storage.claims[0].volume_entry.replica_path, "/srv/b/pv-db");
  EXPECT_EQ(storage.claims[0].volume_entry.server, "nfs1");
}

TEST(FindStorage, TheCatalogCountsMoreThanTheBackup) {
  json older = ClaimObject("shop", "db", "pv-old");
  const BackupObjects backup{.volumes = {VolumeObject("pv-old", "shop", "db")}, .claims = {older}};
  const Storage storage = FindStorage({"shop"}, {East()}, backup);
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
  const Storage storage = FindStorage({"shop"}, {East()}, backup);
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
  EXPECT_THAT(FindStorage({"shop"}, {pair}, {}).claims, IsEmpty());
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

}  // namespace
}  // namespace understudy::control
