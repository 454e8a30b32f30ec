#include "agent-primary/intake/cluster_intake.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/http_test_server.h"
#include "tests/support/wait.h"

namespace understudy::primary {
namespace {

using model::EventType;
using model::ObjectEvent;
using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;

TEST(WatchedNamespacesTest, TheConfigurationCountsThenTheEnvironment) {
  EXPECT_EQ(WatchedNamespaces({"a"}, "b,c"), (std::vector<std::string>{"a"}));
  EXPECT_EQ(WatchedNamespaces({}, " b, c,,"), (std::vector<std::string>{"b", "c"}));
  EXPECT_TRUE(WatchedNamespaces({}, "").empty());
  EXPECT_TRUE(WatchedNamespaces({}, nullptr).empty());
}

ObjectEvent Event(EventType type, ObjectKind kind, const std::string& namespace_name,
                  const json& spec = json::object()) {
  return {.type = type,
          .key = {kind, namespace_name, "x"},
          .resource = json{{"spec", spec}}.dump(),
          .event_id = "",
          .observed_at = {}};
}

TEST(BelongsToTest, ByItsNamespaceOrByWhatItRefersTo) {
  const std::set<std::string> shop = {"shop"};
  const json ours = {{"claimRef", {{"namespace", "shop"}}}, {"volumeSnapshotRef", {{"namespace", "shop"}}}};
  const json theirs = {{"claimRef", {{"namespace", "bank"}}}, {"volumeSnapshotRef", {{"namespace", "bank"}}}};
  for (const ObjectKind kind : {ObjectKind::kPersistentVolumeClaim, ObjectKind::kVolumeSnapshot}) {
    EXPECT_TRUE(BelongsTo(shop, Event(EventType::kAdded, kind, "shop")));
    EXPECT_FALSE(BelongsTo(shop, Event(EventType::kDeleted, kind, "bank")));
  }
  for (const ObjectKind kind : {ObjectKind::kPersistentVolume, ObjectKind::kVolumeSnapshotContent}) {
    EXPECT_TRUE(BelongsTo(shop, Event(EventType::kAdded, kind, "", ours)));
    EXPECT_FALSE(BelongsTo(shop, Event(EventType::kAdded, kind, "", theirs)));
    EXPECT_FALSE(BelongsTo(shop, Event(EventType::kModified, kind, "")));
    EXPECT_TRUE(BelongsTo(shop, Event(EventType::kDeleted, kind, "")));
    EXPECT_TRUE(BelongsTo({}, Event(EventType::kAdded, kind, "", theirs)));
  }
}

ObjectEvent Named(EventType type, ObjectKind kind, const std::string& name, const json& spec) {
  const std::string namespace_name = kind == ObjectKind::kPersistentVolume ? "" : "shop";
  return {.type = type,
          .key = {kind, namespace_name, name},
          .resource = json{{"spec", spec}}.dump(),
          .event_id = "",
          .observed_at = {}};
}

TEST(UnclaimedVolumesTest, AVolumeWithoutAReferenceIsTakenWhenAClaimNamesItWhicheverComesFirst) {
  const ObjectEvent volume = Named(EventType::kAdded, ObjectKind::kPersistentVolume, "pv", json::object());
  const ObjectEvent newer = Named(EventType::kModified, ObjectKind::kPersistentVolume, "pv", {{"a", 1}});
  const ObjectEvent claim = Named(EventType::kAdded, ObjectKind::kPersistentVolumeClaim, "db", {{"volumeName", "pv"}});
  UnclaimedVolumes volume_first;
  EXPECT_FALSE(volume_first.TakesVolume(volume, false));
  EXPECT_FALSE(volume_first.TakesVolume(newer, false));
  const auto found = volume_first.VolumeOfClaim(claim);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->resource, newer.resource);
  EXPECT_FALSE(volume_first.VolumeOfClaim(claim)) << "taken already";
  EXPECT_TRUE(volume_first.TakesVolume(newer, false));

  UnclaimedVolumes claim_first;
  EXPECT_FALSE(claim_first.VolumeOfClaim(claim));
  EXPECT_TRUE(claim_first.TakesVolume(volume, false));
}

TEST(UnclaimedVolumesTest, WhatIsAnothersOrNotNamedAnyMoreIsNotTaken) {
  const ObjectEvent anothers =
      Named(EventType::kAdded, ObjectKind::kPersistentVolume, "pv", {{"claimRef", {{"namespace", "bank"}}}});
  const ObjectEvent free = Named(EventType::kAdded, ObjectKind::kPersistentVolume, "pv", json::object());
  const ObjectEvent claim = Named(EventType::kAdded, ObjectKind::kPersistentVolumeClaim, "db", {{"volumeName", "pv"}});
  const ObjectEvent gone = Named(EventType::kDeleted, ObjectKind::kPersistentVolumeClaim, "db", {{"volumeName", "pv"}});
  UnclaimedVolumes volumes;
  EXPECT_FALSE(volumes.VolumeOfClaim(claim));
  EXPECT_FALSE(volumes.TakesVolume(anothers, false));
  EXPECT_FALSE(volumes.VolumeOfClaim(gone));
  EXPECT_FALSE(volumes.TakesVolume(free, false));
  EXPECT_TRUE(volumes.TakesVolume(Named(EventType::kDeleted, ObjectKind::kPersistentVolume, "pv", {}), true));
  EXPECT_FALSE(volumes.VolumeOfClaim(claim)) << "it was deleted";
}

class RecordingSink : public EventSink {
 public:
  void OnEvent(const ObjectEvent& event) override {
    absl::MutexLock lock(&mutex_);
    seen_.insert(ToString(event.key));
  }
  void OnSynced(ObjectKind kind, const std::set<ObjectKey>& keys) override {
    absl::MutexLock lock(&mutex_);
    synced_[kind] = keys.size();
  }
  std::set<std::string> Seen() {
    absl::MutexLock lock(&mutex_);
    return seen_;
  }
  std::map<ObjectKind, size_t> Synced() {
    absl::MutexLock lock(&mutex_);
    return synced_;
  }

 private:
  absl::Mutex mutex_;
  std::set<std::string> seen_;
  std::map<ObjectKind, size_t> synced_;
};

TEST(ClusterIntakeTest, FollowsEachKindOnItsOwnAndSaysHowItIs) {
  tests::HttpTestServer server([](const tests::TestRequest& request, tests::TestReply& reply) {
    if (request.target.find("watch=true") != std::string::npos) {
      reply.Begin(200);
      return reply.Hold();
    }
    if (request.target.find("/persistentvolumeclaims") != std::string::npos) {
      return reply.Send(200, R"({"metadata":{"resourceVersion":"5"},"items":[
          {"metadata":{"name":"a","namespace":"shop","uid":"1","resourceVersion":"1"}},
          {"metadata":{"name":"b","namespace":"bank","uid":"2","resourceVersion":"2"}}]})");
    }
    if (request.target.find("/persistentvolumes") != std::string::npos) return reply.Send(500, "etcd is away");
    reply.Send(404, R"({"kind":"Status","code":404,"reason":"NotFound","message":"no such kind"})");
  });
  kube::ClusterAccess access;
  access.server = server.Url();
  const kube::Client client(access);
  RecordingSink sink;
  ClusterIntake intake(client, {"shop"}, sink);
  const std::jthread thread([&](std::stop_token stop) { intake.Run(stop); });
  const auto settled = [&] {
    const std::vector<KindStatus> all = intake.Status();
    return !all[0].error.empty() && all[1].synced && !all[2].served && !all[3].served;
  };
  ASSERT_EQ(tests::WaitFor("the four kinds", absl::Seconds(30), settled), absl::OkStatus());
  EXPECT_EQ(sink.Seen(), (std::set<std::string>{"PersistentVolumeClaim shop/a"}));
  EXPECT_EQ(sink.Synced(), (std::map<ObjectKind, size_t>{{ObjectKind::kPersistentVolumeClaim, 2}}));
  EXPECT_NE(intake.Status()[0].error.find("etcd is away"), std::string::npos);
}

}  // namespace
}  // namespace understudy::primary
