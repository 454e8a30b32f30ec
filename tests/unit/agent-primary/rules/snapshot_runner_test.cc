// Snapshots on their way to DR's catalog: a content's archive is data as a PersistentVolume's is, and a snapshot waits
// for its content.
#include <gtest/gtest.h>

#include <thread>

#include "agent-primary/rules/action_runner.h"
#include "nlohmann/json.hpp"
#include "tests/support/memory_catalog.h"
#include "tests/support/memory_volumes.h"
#include "tests/support/wait.h"

namespace understudy::primary {
namespace {

using model::EventType;
using model::ObjectEvent;
using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;

ObjectKey ContentKey(const std::string& name) {
  return {ObjectKind::kVolumeSnapshotContent, "", name};
}
ObjectKey SnapshotKey(const std::string& name) {
  return {ObjectKind::kVolumeSnapshot, "shop", name};
}

json ContentObject(const std::string& name, const std::string& server = "nfs1") {
  return {{"metadata", {{"name", name}, {"uid", "k-" + name}}},
          {"spec", {{"driver", "nfs.csi.k8s.io"}}},
          {"status", {{"readyToUse", true}, {"snapshotHandle", server + "#export#" + name + "#" + name + "#pvc-1"}}}};
}

ObjectEvent ContentEvent(EventType type, const std::string& name, const std::string& server = "nfs1") {
  return {.type = type,
          .key = ContentKey(name),
          .resource = ContentObject(name, server).dump(),
          .event_id = "",
          .observed_at = {}};
}
ObjectEvent SnapshotEvent(EventType type, const std::string& name, const std::string& content) {
  const json object = {{"metadata", {{"name", name}, {"namespace", "shop"}, {"uid", "s-" + name}}},
                       {"status", {{"readyToUse", true}, {"boundVolumeSnapshotContentName", content}}}};
  return {.type = type, .key = SnapshotKey(name), .resource = object.dump(), .event_id = "", .observed_at = {}};
}

class SnapshotRunnerTest : public testing::Test {
 protected:
  SnapshotRunnerTest() {
    thread_ = std::jthread([this](std::stop_token stop) { runner_.Run(stop); });
  }
  void Expect(const std::string& what, const std::function<bool()>& predicate) {
    EXPECT_EQ(tests::WaitFor(what, absl::Seconds(30), predicate), absl::OkStatus());
  }
  void ExpectIdle() {
    Expect("nothing left to do", [this] { return runner_.Status().pending == 0; });
  }
  void PutEntry(const ObjectKey& key, const std::string& content, const std::string& server) {
    ASSERT_EQ(catalog_.Put({.key = key,
                            .uid = "u",
                            .resource = ContentObject(content, server).dump(),
                            .volume = content,
                            .replica_path = "/r",
                            .server = server,
                            .observed_at = {}}),
              absl::OkStatus());
  }

  tests::MemoryVolumes volumes_;
  tests::MemoryCatalog catalog_;
  ActionRunner runner_{
      volumes_, catalog_, {.workers = 3, .retry_first = absl::Milliseconds(1), .retry_longest = absl::Milliseconds(5)}};
  std::jthread thread_;
};

TEST_F(SnapshotRunnerTest, TheArchiveComesFirstThenTheContentThenTheSnapshot) {
  volumes_.SetSlow("content-1", true);
  runner_.OnEvent(SnapshotEvent(EventType::kAdded, "nightly", "content-1"));
  runner_.OnEvent(ContentEvent(EventType::kAdded, "content-1"));
  Expect("the sync", [this] { return volumes_.Syncs("content-1") > 0 && runner_.Status().waiting == 1; });
  EXPECT_FALSE(catalog_.Find(ContentKey("content-1")));
  EXPECT_FALSE(catalog_.Find(SnapshotKey("nightly")));
  volumes_.SetSlow("content-1", false);
  ExpectIdle();
  EXPECT_EQ(volumes_.Registered(), (std::map<std::string, std::string>{{"content-1", "/export/content-1"}}));
  const auto content = catalog_.Find(ContentKey("content-1"));
  const auto snapshot = catalog_.Find(SnapshotKey("nightly"));
  ASSERT_TRUE(content && snapshot);
  EXPECT_EQ(content->volume, "content-1");
  EXPECT_EQ(content->replica_path, "/replica/content-1");
  EXPECT_EQ(content->server, "nfs1");
  EXPECT_EQ(snapshot->volume, "content-1");
  EXPECT_LT(content->revision, snapshot->revision);
}

TEST_F(SnapshotRunnerTest, ASnapshotOfAnotherDriverDoesNotWaitForever) {
  runner_.OnEvent(SnapshotEvent(EventType::kAdded, "nightly", "content-1"));
  Expect("it to wait", [this] { return runner_.Status().waiting == 1; });
  ObjectEvent content = ContentEvent(EventType::kAdded, "content-1");
  content.resource = R"({"metadata":{"uid":"k"},"spec":{"driver":"ceph"},"status":{"readyToUse":true}})";
  runner_.OnEvent(content);
  ExpectIdle();
  EXPECT_FALSE(catalog_.Find(SnapshotKey("nightly")));
  EXPECT_TRUE(volumes_.Registered().empty());
}

TEST_F(SnapshotRunnerTest, ASnapshotWaitsForAContentThatIsNotReadyYet) {
  runner_.OnEvent(SnapshotEvent(EventType::kAdded, "nightly", "content-1"));
  ObjectEvent young = ContentEvent(EventType::kAdded, "content-1");
  young.resource = R"({"metadata":{"uid":"k"},"spec":{"driver":"nfs.csi.k8s.io"},"status":{"readyToUse":false}})";
  runner_.OnEvent(young);
  Expect("it to wait", [this] { return runner_.Status().waiting == 1; });
  runner_.OnEvent(ContentEvent(EventType::kModified, "content-1"));
  ExpectIdle();
  EXPECT_TRUE(catalog_.Has(SnapshotKey("nightly")));
}

TEST_F(SnapshotRunnerTest, ADeletedContentLeavesTheCatalogAndItsArchiveGoesToTheTrash) {
  runner_.OnEvent(ContentEvent(EventType::kAdded, "content-1"));
  runner_.OnEvent(SnapshotEvent(EventType::kAdded, "nightly", "content-1"));
  ExpectIdle();
  runner_.OnEvent(SnapshotEvent(EventType::kDeleted, "nightly", "content-1"));
  ExpectIdle();
  EXPECT_FALSE(catalog_.Has(SnapshotKey("nightly")));
  EXPECT_EQ(volumes_.DiscardCalls(), 0) << "a snapshot has no data of its own";
  volumes_.SetDiscardError(absl::UnavailableError("DR is away"));
  runner_.OnEvent(ContentEvent(EventType::kDeleted, "content-1"));
  Expect("it to be tried again", [this] { return volumes_.DiscardCalls() >= 2; });
  EXPECT_FALSE(catalog_.Has(ContentKey("content-1")));
  EXPECT_TRUE(volumes_.Registered().empty());
  volumes_.SetDiscardError(absl::OkStatus());
  ExpectIdle();
  EXPECT_EQ(volumes_.Discarded(), (std::map<std::string, std::string>{{"content-1", "/replica/content-1"}}));
}

TEST_F(SnapshotRunnerTest, AFolderThatCannotBeReplicatedIsAProblemAndHoldsUpNothingElse) {
  volumes_.SetMissing("/export/content-1", true);
  runner_.OnEvent(ContentEvent(EventType::kAdded, "content-1"));
  runner_.OnEvent(ContentEvent(EventType::kAdded, "content-2"));
  Expect("the other", [this] { return catalog_.Has(ContentKey("content-2")); });
  Expect("the problem", [this] { return !runner_.Status().problems.empty(); });
  EXPECT_EQ(runner_.Status().problems[0].key, ContentKey("content-1"));
}

TEST_F(SnapshotRunnerTest, AFolderInsideAReplicatedVolumeIsToldAsAProblem) {
  ASSERT_EQ(volumes_.Register("share", {.path = "/export/share", .replica_path = "/replica/share"}), absl::OkStatus());
  ObjectEvent event = ContentEvent(EventType::kAdded, "content-1");
  json object = ContentObject("content-1");
  object["status"]["snapshotHandle"] = "nfs1#export/share#s#s#pvc-1";
  event.resource = object.dump();
  runner_.OnEvent(event);
  Expect("the problem", [this] { return !runner_.Status().problems.empty(); });
  EXPECT_NE(runner_.Status().problems[0].message.find("overlaps"), std::string::npos);
  EXPECT_FALSE(catalog_.Has(ContentKey("content-1")));
}

TEST_F(SnapshotRunnerTest, AContentOfAVolumesNameLeavesThatAlone) {
  const json volume = {{"metadata", {{"name", "same"}, {"uid", "v"}}},
                       {"spec", {{"nfs", {{"server", "nfs1"}, {"path", "/export/data"}}}}}};
  runner_.OnEvent({.type = EventType::kAdded,
                   .key = {ObjectKind::kPersistentVolume, "", "same"},
                   .resource = volume.dump(),
                   .event_id = "",
                   .observed_at = {}});
  ExpectIdle();
  runner_.OnEvent(ContentEvent(EventType::kAdded, "same"));
  Expect("the problem", [this] { return !runner_.Status().problems.empty(); });
  runner_.OnEvent(ContentEvent(EventType::kDeleted, "same"));
  ExpectIdle();
  EXPECT_EQ(volumes_.Registered(), (std::map<std::string, std::string>{{"same", "/export/data"}}));
  EXPECT_TRUE(volumes_.Discarded().empty());
}

TEST_F(SnapshotRunnerTest, WhatWentWhileTheAgentWasDownIsDeletedOnceBothKindsAreListed) {
  for (const char* const name : {"here", "gone"}) {
    PutEntry(ContentKey(name), name, "nfs1");
    PutEntry(SnapshotKey(name), name, "nfs1");
  }
  PutEntry(ContentKey("others"), "others", "nfs9");
  PutEntry(SnapshotKey("others"), "others", "nfs9");
  runner_.OnSynced(ObjectKind::kPersistentVolume, {});
  runner_.OnSynced(ObjectKind::kPersistentVolumeClaim, {});
  runner_.OnSynced(ObjectKind::kVolumeSnapshotContent, {ContentKey("here")});
  Expect("the reconciliation", [this] { return runner_.Status().reconciled; });
  ExpectIdle();
  EXPECT_TRUE(catalog_.Has(ContentKey("gone"))) << "of one kind's list nothing is concluded";
  runner_.OnSynced(ObjectKind::kVolumeSnapshot, {SnapshotKey("here")});
  Expect("the content to go", [this] { return !catalog_.Has(ContentKey("gone")); });
  Expect("the snapshot to go", [this] { return !catalog_.Has(SnapshotKey("gone")); });
  ExpectIdle();
  EXPECT_EQ(volumes_.Discarded(), (std::map<std::string, std::string>{{"gone", "/replica/gone"}}));
  for (const ObjectKey& key : {ContentKey("here"), SnapshotKey("here"), ContentKey("others"), SnapshotKey("others")}) {
    EXPECT_TRUE(catalog_.Has(key)) << ToString(key);
  }
}

}  // namespace
}  // namespace understudy::primary
