// The one table of methods and roles.
#include "core/net/roles.h"

#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <set>

#include "understudy/v1/catalog.pb.h"
#include "understudy/v1/exports.pb.h"
#include "understudy/v1/freshness.pb.h"
#include "understudy/v1/points.pb.h"
#include "understudy/v1/primary.pb.h"
#include "understudy/v1/replica.pb.h"
#include "understudy/v1/replication.pb.h"
#include "understudy/v1/standby.pb.h"
#include "understudy/v1/verify.pb.h"

namespace understudy::net {
namespace {

std::set<std::string> MethodsOfTheSchema() {
  std::set<std::string> methods;
  for (const google::protobuf::FileDescriptor* const file :
       {v1::CatalogEntry::descriptor()->file(), v1::Export::descriptor()->file(),
        v1::Confirmation::descriptor()->file(), v1::ListReplicasRequest::descriptor()->file(),
        v1::HandshakeRequest::descriptor()->file(), v1::Point::descriptor()->file(),
        v1::PromoteRequest::descriptor()->file(), v1::VerifyUpdate::descriptor()->file(),
        v1::VolumeStatus::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        methods.insert("/" + file->service(i)->full_name() + "/" + file->service(i)->method(j)->name());
      }
    }
  }
  return methods;
}

TEST(RolesTest, TheTableListsEveryMethodOfTheSchemaAndNoOther) {
  std::set<std::string> listed;
  for (const MethodRoles& entry : MethodTable()) {
    if (!entry.method.starts_with("/grpc.health.v1.")) listed.emplace(entry.method);
  }
  EXPECT_EQ(listed, MethodsOfTheSchema());
}

TEST(RolesTest, WhatIsNotListedIsRefused) {
  for (const Role role : kAllRoles) {
    EXPECT_FALSE(MayCall(role, ""));
    EXPECT_FALSE(MayCall(role, "/understudy.v1.Primary/"));
    EXPECT_FALSE(MayCall(role, "/understudy.v1.Primary/ListVolumesX"));
    EXPECT_TRUE(MayCall(role, "/grpc.health.v1.Health/Check"));
  }
}

TEST(RolesTest, OnlyThePrimaryWritesDataToDr) {
  EXPECT_TRUE(MayCall(Role::kPrimary, "/understudy.v1.Replication/Replicate"));
  EXPECT_TRUE(MayCall(Role::kPrimary, "/understudy.v1.Replication/SegmentSignature"));
  EXPECT_FALSE(MayCall(Role::kControl, "/understudy.v1.Replication/SegmentSignature"));
  EXPECT_FALSE(MayCall(Role::kControl, "/understudy.v1.Replication/Replicate"));
  EXPECT_FALSE(MayCall(Role::kDr, "/understudy.v1.Replication/Replicate"));
  // The scheduled sync brings the catalog up to date; DR has nobody else to take objects from.
  for (const char* const method : {"PutObject", "DeleteObject"}) {
    EXPECT_TRUE(MayCall(Role::kControl, std::string("/understudy.v1.Catalog/") + method));
    EXPECT_FALSE(MayCall(Role::kDr, std::string("/understudy.v1.Catalog/") + method));
  }
}

TEST(RolesTest, OnlyThePrimaryMayListAReplicasEntriesAndOnlyTheControlPlaneVerifies) {
  EXPECT_TRUE(MayCall(Role::kPrimary, "/understudy.v1.Verify/ListEntries"));
  EXPECT_FALSE(MayCall(Role::kControl, "/understudy.v1.Verify/ListEntries"));
  for (const char* const method : {"Verify/VerifyReplica", "Verify/ListDamage", "Primary/VerifyVolume"}) {
    EXPECT_TRUE(MayCall(Role::kControl, std::string("/understudy.v1.") + method)) << method;
    EXPECT_FALSE(MayCall(Role::kPrimary, std::string("/understudy.v1.") + method)) << method;
    EXPECT_FALSE(MayCall(Role::kDr, std::string("/understudy.v1.") + method)) << method;
  }
}

TEST(RolesTest, ThePrimaryPutsIntoTheTrashAndOnlyTheControlPlaneTakesOut) {
  EXPECT_TRUE(MayCall(Role::kPrimary, "/understudy.v1.Replication/DiscardVolume"));
  EXPECT_FALSE(MayCall(Role::kControl, "/understudy.v1.Replication/DiscardVolume"));
  for (const char* const method : {"ListTrash", "RestoreTrash", "PurgeTrash"}) {
    EXPECT_TRUE(MayCall(Role::kControl, std::string("/understudy.v1.Replica/") + method));
    EXPECT_FALSE(MayCall(Role::kPrimary, std::string("/understudy.v1.Replica/") + method));
  }
}

TEST(RolesTest, OnlyTheControlPlaneSeesAndSwitchesExports) {
  for (const char* const method : {"ListExports", "SetExport"}) {
    const std::string path = std::string("/understudy.v1.Exports/") + method;
    EXPECT_TRUE(MayCall(Role::kControl, path));
    EXPECT_FALSE(MayCall(Role::kPrimary, path));
    EXPECT_FALSE(MayCall(Role::kDr, path));
  }
}

TEST(RolesTest, OnlyTheControlPlaneSeesAndUsesRecoveryPoints) {
  for (const char* const method : {"ListPoints", "LabelPoint", "UnlabelPoint", "RewindReplica", "ReleaseReplica",
                                   "MaterialisePoint", "ListTrees", "RemoveTree"}) {
    const std::string path = std::string("/understudy.v1.Points/") + method;
    EXPECT_TRUE(MayCall(Role::kControl, path)) << method;
    EXPECT_FALSE(MayCall(Role::kPrimary, path)) << method;
    EXPECT_FALSE(MayCall(Role::kDr, path)) << method;
  }
}

TEST(RolesTest, OnlyTheControlPlanePromotesAndPauses) {
  for (const char* const method :
       {"Standby/Promote", "Standby/Demote", "Standby/RunHooks", "Standby/Adopt", "Standby/LetGo",
        "Primary/PauseVolume", "Primary/ResumeVolume", "Primary/HandOverVolume", "Primary/TakeUpVolume",
        "Primary/ForgetHandOver", "Replica/ForgetMadeHere"}) {
    EXPECT_TRUE(MayCall(Role::kControl, std::string("/understudy.v1.") + method));
    EXPECT_FALSE(MayCall(Role::kPrimary, std::string("/understudy.v1.") + method));
    EXPECT_FALSE(MayCall(Role::kDr, std::string("/understudy.v1.") + method));
  }
}

TEST(RolesTest, UrisRoundTrip) {
  for (const Role role : kAllRoles) EXPECT_EQ(RoleOfUri(RoleUri(role)), role);
  for (const char* const uri : {"", "understudy://role/", "understudy://role/root", "understudy://role/primary/x",
                                "x-understudy://role/primary"}) {
    EXPECT_FALSE(RoleOfUri(uri).has_value()) << uri;
  }
}

}  // namespace
}  // namespace understudy::net
