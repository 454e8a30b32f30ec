#include "agent-primary/rules/rules.h"

#include <gtest/gtest.h>

#include "nlohmann/json.hpp"

namespace understudy::primary {
namespace {

using model::EventType;
using model::ObjectKind;
using nlohmann::json;

json Object(const json& spec, const json& status = json::object()) {
  return {{"metadata", {{"name", "x"}, {"uid", "u1"}}}, {"spec", spec}, {"status", status}};
}

model::ObjectEvent Event(EventType type, ObjectKind kind, const json& object) {
  return {.type = type,
          .key = {.kind = kind, .namespace_name = "", .name = "x"},
          .resource = object.dump(),
          .event_id = "",
          .observed_at = {}};
}

TEST(DecideTest, AnNfsVolumeIsReplicatedAsTheVolumeOfItsName) {
  const json object = Object({{"nfs", {{"server", "nfs1"}, {"path", "/export//a/"}}}});
  for (const EventType type : {EventType::kAdded, EventType::kModified}) {
    const Action action = Decide(Event(type, ObjectKind::kPersistentVolume, object));
    EXPECT_EQ(action.kind, Action::Kind::kSyncVolume);
    EXPECT_EQ(action.volume, "x");
    EXPECT_EQ(action.uid, "u1");
    EXPECT_EQ(action.source, (NfsSource{"nfs1", "/export/a"}));
    EXPECT_EQ(json::parse(action.resource), object);
  }
}

TEST(DecideTest, ACsiNfsVolumeIsWhatItMounts) {
  const json object =
      Object({{"csi",
               {{"driver", "nfs.csi.k8s.io"},
                {"volumeAttributes", {{"Server", "nfs1"}, {"share", "/export"}, {"subDir", "pvc-1"}}}}}});
  EXPECT_EQ(Decide(Event(EventType::kAdded, ObjectKind::kPersistentVolume, object)).source,
            (NfsSource{"nfs1", "/export/pvc-1"}));
}

TEST(DecideTest, AVolumeThatIsNotOnNfsOrLeadsUpwardsIsIgnored) {
  for (const json& spec :
       {json{{"hostPath", {{"path", "/x"}}}}, json{{"csi", {{"driver", "ceph"}}}},
        json{{"nfs", {{"server", "nfs1"}, {"path", "/export/../etc"}}}}, json{{"nfs", {{"path", "/export"}}}}}) {
    EXPECT_EQ(Decide(Event(EventType::kAdded, ObjectKind::kPersistentVolume, Object(spec))).kind, Action::Kind::kIgnore)
        << spec;
  }
}

TEST(DecideTest, ABoundClaimFollowsItsVolumeAndAnUnboundOneWaitsForItsNextEvent) {
  const Action bound =
      Decide(Event(EventType::kModified, ObjectKind::kPersistentVolumeClaim, Object({{"volumeName", "pv7"}})));
  EXPECT_EQ(bound.kind, Action::Kind::kSyncClaim);
  EXPECT_EQ(bound.volume, "pv7");
  EXPECT_EQ(Decide(Event(EventType::kAdded, ObjectKind::kPersistentVolumeClaim, Object(json::object()))).kind,
            Action::Kind::kIgnore);
}

TEST(DecideTest, DeletionsOfAllKindsAreTakenAndWhatIsBeingDeletedIsLeft) {
  json object = Object({{"nfs", {{"server", "nfs1"}, {"path", "/export/a"}}}, {"volumeName", "pv7"}});
  for (const ObjectKind kind : {ObjectKind::kPersistentVolume, ObjectKind::kPersistentVolumeClaim,
                                ObjectKind::kVolumeSnapshot, ObjectKind::kVolumeSnapshotContent}) {
    const Action action = Decide(Event(EventType::kDeleted, kind, object));
    EXPECT_EQ(action.kind, Action::Kind::kDelete);
    EXPECT_EQ(action.uid, "u1");
  }
  object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  EXPECT_EQ(Decide(Event(EventType::kModified, ObjectKind::kPersistentVolume, object)).kind, Action::Kind::kIgnore);
}

TEST(DecideTest, AVolumeWhoseDataGoesWithItsClaimIsPausedWhenThatIsGone) {
  const auto decide = [](const std::string& policy, const std::string& phase, bool being_deleted = false) {
    json object = Object({{"nfs", {{"server", "nfs1"}, {"path", "/export/a"}}},
                          {"persistentVolumeReclaimPolicy", policy},
                          {"claimRef", {{"uid", "c1"}}}},
                         {{"phase", phase}});
    if (being_deleted) object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
    return Decide(Event(EventType::kModified, ObjectKind::kPersistentVolume, object));
  };
  for (const char* phase : {"Released", "Failed"}) {
    for (const bool being_deleted : {false, true}) {
      const Action action = decide("Delete", phase, being_deleted);
      EXPECT_EQ(action.kind, Action::Kind::kPauseVolume);
      EXPECT_EQ(action.volume, "x");
      EXPECT_EQ(action.source, (NfsSource{"nfs1", "/export/a"}));
    }
    const Action kept = decide("Retain", phase);
    EXPECT_EQ(kept.kind, Action::Kind::kSyncVolume);
    EXPECT_TRUE(kept.is_released);
    EXPECT_FALSE(kept.goes_with_owner);
  }
  for (const char* phase : {"Bound", "Available"}) {
    const Action bound = decide("Delete", phase);
    EXPECT_EQ(bound.kind, Action::Kind::kSyncVolume);
    EXPECT_FALSE(bound.is_released);
    EXPECT_EQ(bound.owner_uid, "c1");
    EXPECT_TRUE(bound.goes_with_owner);
  }
}

json Content(const std::string& handle, bool ready = true) {
  return Object({{"driver", "nfs.csi.k8s.io"}}, {{"readyToUse", ready}, {"snapshotHandle", handle}});
}

TEST(DecideTest, TheFolderOfASnapshotsArchiveIsReplicatedAsTheVolumeOfItsContent) {
  const Action action = Decide(
      Event(EventType::kModified, ObjectKind::kVolumeSnapshotContent, Content("nfs1#export#snap-1#snap-1#pvc-1")));
  EXPECT_EQ(action.kind, Action::Kind::kSyncVolume);
  EXPECT_EQ(action.volume, "x");
  EXPECT_EQ(action.source, (NfsSource{"nfs1", "/export/snap-1"}));
  EXPECT_EQ(DataKeyOf(action), (model::ObjectKey{ObjectKind::kVolumeSnapshotContent, "", "x"}));
}

TEST(DecideTest, AContentWhoseArchiveGoesWithItIsPausedWhenItIsBeingDeleted) {
  json object = Content("nfs1#export#snap-1#snap-1#pvc-1");
  object["spec"]["deletionPolicy"] = "Delete";
  const auto decide = [&] { return Decide(Event(EventType::kModified, ObjectKind::kVolumeSnapshotContent, object)); };
  EXPECT_EQ(decide().kind, Action::Kind::kSyncVolume);
  object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  EXPECT_EQ(decide().kind, Action::Kind::kPauseVolume);
  EXPECT_EQ(decide().source, (NfsSource{"nfs1", "/export/snap-1"}));
  object["spec"]["deletionPolicy"] = "Retain";
  EXPECT_EQ(decide().kind, Action::Kind::kIgnore);
}

TEST(DecideTest, AReadySnapshotFollowsItsContent) {
  const json status = {{"readyToUse", true}, {"boundVolumeSnapshotContentName", "content-1"}};
  const Action action = Decide(Event(EventType::kAdded, ObjectKind::kVolumeSnapshot, Object(json::object(), status)));
  EXPECT_EQ(action.kind, Action::Kind::kSyncClaim);
  EXPECT_EQ(DataKeyOf(action), (model::ObjectKey{ObjectKind::kVolumeSnapshotContent, "", "content-1"}));
}

TEST(DecideTest, ASnapshotThatIsNotReadyOrOfAnotherDriverIsIgnoredWithTheReason) {
  const auto decide = [](ObjectKind kind, const json& object) {
    return Decide(Event(EventType::kAdded, kind, object));
  };
  const std::string handle = "nfs1#export#snap-1#snap-1#pvc-1";
  for (const ObjectKind kind : {ObjectKind::kVolumeSnapshot, ObjectKind::kVolumeSnapshotContent}) {
    for (const json& object : {Content(handle, false), Object({{"driver", "nfs.csi.k8s.io"}})}) {
      const Action action = decide(kind, object);
      EXPECT_EQ(action.kind, Action::Kind::kIgnore);
      EXPECT_EQ(action.reason, "isn't ready to use");
      EXPECT_FALSE(action.never_replicated) << "its next event may say that it is";
    }
  }
  json ceph = Content("0001-0009-rook");
  ceph["spec"]["driver"] = "rbd.csi.ceph.com";
  for (const json& object : {ceph, Content("nfs1#export#snap-1"), Content("nfs1#export##x#y")}) {
    const Action action = decide(ObjectKind::kVolumeSnapshotContent, object);
    EXPECT_EQ(action.kind, Action::Kind::kIgnore) << object;
    EXPECT_TRUE(action.never_replicated);
  }
  EXPECT_EQ(decide(ObjectKind::kVolumeSnapshot, Object(json::object(), {{"readyToUse", true}})).reason, "isn't bound");
}

TEST(DecideTest, TheDeletionOfAContentKnowsItsFolder) {
  const Action action = Decide(
      Event(EventType::kDeleted, ObjectKind::kVolumeSnapshotContent, Content("nfs1#export#snap-1#snap-1#pvc-1")));
  EXPECT_EQ(action.kind, Action::Kind::kDelete);
  EXPECT_EQ(action.volume, "x");
  EXPECT_EQ(action.source, (NfsSource{"nfs1", "/export/snap-1"}));
}

TEST(DecideTest, NothingThatIsNoObjectIsActedOn) {
  for (const char* resource : {"", "[]", "null", "{", "{\"spec\":3}", "{\"metadata\":[],\"spec\":{\"nfs\":7}}"}) {
    model::ObjectEvent event = Event(EventType::kAdded, ObjectKind::kPersistentVolume, json::object());
    event.resource = resource;
    EXPECT_EQ(Decide(event).kind, Action::Kind::kIgnore) << resource;
  }
}

}  // namespace
}  // namespace understudy::primary
