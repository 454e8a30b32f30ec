#include "agent-primary/rules/action_runner.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <thread>

#include "nlohmann/json.hpp"
#include "tests/support/memory_catalog.h"
#include "tests/support/memory_volumes.h"
#include "tests/support/recording_observer.h"
#include "tests/support/wait.h"

namespace understudy::primary {
namespace {

using model::EventType;
using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;

ObjectKey VolumeKey(const std::string& name) {
  return {ObjectKind::kPersistentVolume, "", name};
}
ObjectKey ClaimKey(const std::string& name) {
  return {ObjectKind::kPersistentVolumeClaim, "shop", name};
}

model::ObjectEvent VolumeEvent(EventType type, const std::string& name, const std::string& uid = "u1",
                               const std::string& server = "nfs1") {
  const json object = {{"metadata", {{"name", name}, {"uid", uid}}},
                       {"spec", {{"nfs", {{"server", server}, {"path", "/export/" + name}}}}}};
  return {.type = type, .key = VolumeKey(name), .resource = object.dump(), .event_id = "", .observed_at = {}};
}

model::ObjectEvent ClaimEvent(EventType type, const std::string& name, const std::string& volume,
                              const std::string& uid = "c1") {
  const json object = {{"metadata", {{"name", name}, {"namespace", "shop"}, {"uid", uid}}},
                       {"spec", {{"volumeName", volume}}}};
  return {.type = type, .key = ClaimKey(name), .resource = object.dump(), .event_id = "", .observed_at = {}};
}

class ActionRunnerTest : public testing::Test {
 protected:
  static ActionRunnerOptions Options() {
    return {
        .max_objects = 4, .workers = 3, .retry_first = absl::Milliseconds(1), .retry_longest = absl::Milliseconds(5)};
  }
  void Start() {
    thread_ = std::jthread([this](std::stop_token stop) { runner_.Run(stop); });
  }
  void Expect(const std::string& what, const std::function<bool()>& predicate) {
    EXPECT_EQ(tests::WaitFor(what, absl::Seconds(30), predicate), absl::OkStatus());
  }
  void ExpectIdle() {
    Expect("nothing left to do", [this] { return runner_.Status().pending == 0; });
  }

  tests::MemoryVolumes volumes_;
  tests::MemoryCatalog catalog_;
  ActionRunner runner_{volumes_, catalog_, Options()};
  std::jthread thread_;
};

TEST_F(ActionRunnerTest, TheDataComesFirstAndTheEntrySaysWhereItIs) {
  Start();
  volumes_.SetSlow("pv1", true);
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1"));
  runner_.OnEvent(ClaimEvent(EventType::kAdded, "db", "pv1"));
  Expect("the sync", [this] { return volumes_.Syncs("pv1") > 0 && runner_.Status().waiting == 1; });
  EXPECT_FALSE(catalog_.Find(VolumeKey("pv1")));
  EXPECT_FALSE(catalog_.Find(ClaimKey("db")));
  volumes_.SetSlow("pv1", false);
  ExpectIdle();
  const auto volume = catalog_.Find(VolumeKey("pv1"));
  ASSERT_TRUE(volume);
  EXPECT_EQ(volume->uid, "u1");
  EXPECT_EQ(volume->volume, "pv1");
  EXPECT_EQ(volume->replica_path, "/replica/pv1");
  EXPECT_EQ(volume->server, "nfs1");
  const auto claim = catalog_.Find(ClaimKey("db"));
  ASSERT_TRUE(claim);
  EXPECT_EQ(claim->volume, "pv1");
  EXPECT_EQ(claim->replica_path, "/replica/pv1");
  EXPECT_LT(volume->revision, claim->revision);
}

TEST_F(ActionRunnerTest, AnotherPairsVolumeAndItsClaimAreNotTaken) {
  Start();
  runner_.OnEvent(ClaimEvent(EventType::kAdded, "db", "pv1"));
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1", "u1", "nfs9"));
  ExpectIdle();
  EXPECT_FALSE(catalog_.Find(VolumeKey("pv1")));
  EXPECT_FALSE(catalog_.Find(ClaimKey("db")));
  EXPECT_TRUE(volumes_.Registered().empty());
}

TEST_F(ActionRunnerTest, AClaimOfAVolumeThatIsNotOnNfsDoesNotWaitForever) {
  Start();
  runner_.OnEvent(ClaimEvent(EventType::kAdded, "db", "pv1"));
  model::ObjectEvent event = VolumeEvent(EventType::kAdded, "pv1");
  event.resource = R"({"metadata":{"uid":"u1"},"spec":{"hostPath":{"path":"/x"}}})";
  runner_.OnEvent(event);
  ExpectIdle();
  EXPECT_FALSE(catalog_.Find(ClaimKey("db")));
}

TEST_F(ActionRunnerTest, ADeletionEndsTheSyncUnderWayAndNoLateEntryComes) {
  Start();
  volumes_.SetSlow("pv1", true);
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1"));
  Expect("the sync", [this] { return volumes_.Syncs("pv1") > 0; });
  runner_.OnEvent(VolumeEvent(EventType::kDeleted, "pv1"));
  ExpectIdle();
  EXPECT_TRUE(volumes_.Registered().empty());
  EXPECT_FALSE(catalog_.Has(VolumeKey("pv1")));
}

TEST_F(ActionRunnerTest, ADeletedVolumeLeavesTheCatalogFirstThenItsDataGoesToTheTrash) {
  volumes_.SetDiscardError(absl::UnavailableError("DR is away"));
  Start();
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1"));
  runner_.OnEvent(ClaimEvent(EventType::kAdded, "db", "pv1"));
  ExpectIdle();
  runner_.OnEvent(ClaimEvent(EventType::kDeleted, "db", "pv1"));
  ExpectIdle();
  EXPECT_EQ(volumes_.DiscardCalls(), 0) << "a claim has no data of its own";
  runner_.OnEvent(VolumeEvent(EventType::kDeleted, "pv1"));
  Expect("it to be tried again", [this] { return volumes_.DiscardCalls() >= 3; });
  EXPECT_FALSE(catalog_.Has(VolumeKey("pv1")));
  EXPECT_TRUE(volumes_.Registered().empty());
  EXPECT_TRUE(volumes_.Discarded().empty());
  volumes_.SetDiscardError(absl::OkStatus());
  ExpectIdle();
  EXPECT_EQ(volumes_.Discarded(), (std::map<std::string, std::string>{{"pv1", "/replica/pv1"}}));
}

TEST_F(ActionRunnerTest, DataStaysWhileTheCatalogEntryCannotBeDeleted) {
  Start();
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1"));
  ExpectIdle();
  catalog_.SetError(absl::UnavailableError("DR is away"));
  runner_.OnEvent(VolumeEvent(EventType::kDeleted, "pv1"));
  Expect("failures", [this] { return runner_.Status().failures >= 3; });
  EXPECT_EQ(volumes_.DiscardCalls(), 0);
  catalog_.SetError(absl::OkStatus());
  ExpectIdle();
  EXPECT_EQ(volumes_.Discarded().count("pv1"), 1U);
}

TEST_F(ActionRunnerTest, DataThatDrKeepsForItsOwnReasonsIsNotAskedForAgain) {
  volumes_.SetDiscardError(absl::FailedPreconditionError("the volume is active"));
  Start();
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1"));
  ExpectIdle();
  runner_.OnEvent(VolumeEvent(EventType::kDeleted, "pv1"));
  Expect("the deletion", [this] { return volumes_.DiscardCalls() > 0; });
  ExpectIdle();
  EXPECT_EQ(volumes_.DiscardCalls(), 1);
}

TEST_F(ActionRunnerTest, AnotherPairsVolumeIsNotDiscarded) {
  Start();
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1", "u1", "nfs9"));
  runner_.OnEvent(VolumeEvent(EventType::kDeleted, "pv1", "u1", "nfs9"));
  ExpectIdle();
  EXPECT_EQ(volumes_.DiscardCalls(), 0);
}

TEST_F(ActionRunnerTest, DeletionsDoNotWaitForTheDataOfOthers) {
  ASSERT_EQ(catalog_.Put({.key = ClaimKey("old"),
                          .uid = "c1",
                          .resource = "{}",
                          .volume = "",
                          .replica_path = "",
                          .server = "",
                          .observed_at = {}}),
            absl::OkStatus());
  Start();
  for (const char* name : {"pv1", "pv2", "pv3"}) {  // as many as there are workers
    volumes_.SetSlow(name, true);
    runner_.OnEvent(VolumeEvent(EventType::kAdded, name));
  }
  Expect("all workers to wait",
         [this] { return volumes_.Syncs("pv1") + volumes_.Syncs("pv2") + volumes_.Syncs("pv3") >= 3; });
  runner_.OnEvent(ClaimEvent(EventType::kDeleted, "old", "pv0"));
  Expect("the deletion", [this] { return !catalog_.Has(ClaimKey("old")); });
}

TEST_F(ActionRunnerTest, VolumesThatTakeLongDoNotKeepTheWorkers) {
  volumes_.SetImpatient();
  Start();
  for (const char* name : {"pv1", "pv2", "pv3"}) {  // as many as there are workers
    volumes_.SetSlow(name, true);
    runner_.OnEvent(VolumeEvent(EventType::kAdded, name));
  }
  Expect("all of them to be asked for",
         [this] { return volumes_.Syncs("pv1") > 0 && volumes_.Syncs("pv2") > 0 && volumes_.Syncs("pv3") > 0; });
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv4"));
  Expect("another volume", [this] { return catalog_.Has(VolumeKey("pv4")); });
  Expect("the first to be asked for again", [this] { return volumes_.Syncs("pv1") > 3; });
  runner_.OnEvent(VolumeEvent(EventType::kModified, "pv1"));
  const int asked = volumes_.Syncs("pv1");
  Expect("the new state to be waited for", [&] { return volumes_.Syncs("pv1") > asked + 1; });
  EXPECT_EQ(runner_.Status().failures, 0U);
  EXPECT_TRUE(runner_.Status().problems.empty());
  for (const char* name : {"pv1", "pv2", "pv3"}) volumes_.SetSlow(name, false);
  ExpectIdle();
  EXPECT_TRUE(catalog_.Has(VolumeKey("pv1")));
  EXPECT_EQ(volumes_.Barriers("pv1"), 1) << "what began to be waited for goes on, whatever becomes of the object";
}

// A PersistentVolume that is reclaimed when its claim (uid c1) is gone.
model::ObjectEvent ReclaimedEvent(const std::string& phase) {
  model::ObjectEvent event = VolumeEvent(EventType::kModified, "pv1");
  json object = json::parse(event.resource);
  object["spec"]["persistentVolumeReclaimPolicy"] = "Delete";
  object["spec"]["claimRef"] = {{"namespace", "shop"}, {"name", "db"}, {"uid", "c1"}};
  object["status"] = {{"phase", phase}};
  event.resource = object.dump();
  return event;
}

TEST_F(ActionRunnerTest, AVolumeThatIsReclaimedIsPausedUntilItIsBoundAgainAndDiscardedWhenItIsDeleted) {
  Start();
  runner_.OnEvent(ReclaimedEvent("Bound"));
  runner_.OnEvent(ClaimEvent(EventType::kAdded, "db", "pv1", "c1"));
  ExpectIdle();
  runner_.OnEvent(ClaimEvent(EventType::kDeleted, "db", "pv1", "earlier"));
  EXPECT_FALSE(volumes_.IsPaused("pv1")) << "that of an earlier claim comes late";
  model::ObjectEvent listed = ClaimEvent(EventType::kDeleted, "db", "pv1", "c1");
  listed.concluded = true;
  runner_.OnEvent(listed);
  EXPECT_FALSE(volumes_.IsPaused("pv1")) << "a list may lie";
  runner_.OnEvent(ClaimEvent(EventType::kDeleted, "db", "pv1", "c1"));
  EXPECT_TRUE(volumes_.IsPaused("pv1"));
  runner_.OnEvent(ReclaimedEvent("Bound"));
  Expect("it to go on", [this] { return !volumes_.IsPaused("pv1"); });
  ExpectIdle();
  runner_.OnEvent(ReclaimedEvent("Released"));
  EXPECT_TRUE(volumes_.IsPaused("pv1")) << "at once";
  ExpectIdle();
  EXPECT_TRUE(volumes_.IsPaused("pv1"));
  EXPECT_TRUE(volumes_.Discarded().empty());
  runner_.OnEvent(VolumeEvent(EventType::kDeleted, "pv1"));
  ExpectIdle();
  EXPECT_EQ(volumes_.Discarded(), (std::map<std::string, std::string>{{"pv1", "/replica/pv1"}}));
}

TEST_F(ActionRunnerTest, WhatIsDeletedAndMadeAgainEndsAsTheNewOne) {
  volumes_.SetSlow("pv1", true);
  Start();
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1", "u1"));
  Expect("the sync", [this] { return volumes_.Syncs("pv1") > 0; });
  runner_.OnEvent(VolumeEvent(EventType::kDeleted, "pv1", "u1"));
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1", "u2"));
  volumes_.SetSlow("pv1", false);
  ExpectIdle();
  ASSERT_TRUE(catalog_.Has(VolumeKey("pv1")));
  EXPECT_EQ(catalog_.Find(VolumeKey("pv1"))->uid, "u2");
  EXPECT_EQ(volumes_.Registered().count("pv1"), 1U);
}

TEST_F(ActionRunnerTest, AFailureIsTriedAgainAndDoesNotHoldUpOthers) {
  volumes_.SetMissing("/export/pv1", true);
  Start();
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1"));
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv2"));
  Expect("the other one", [this] { return catalog_.Has(VolumeKey("pv2")); });
  Expect("the problem", [this] { return runner_.Status().problems.size() == 1; });
  EXPECT_EQ(runner_.Status().problems[0].key, VolumeKey("pv1"));
  volumes_.SetMissing("/export/pv1", false);
  ExpectIdle();
  EXPECT_TRUE(catalog_.Has(VolumeKey("pv1")));
  EXPECT_GE(runner_.Status().failures, 1U);
}

TEST_F(ActionRunnerTest, ACatalogThatIsAwayIsWaitedFor) {
  catalog_.SetError(absl::UnavailableError("DR is away"));
  Start();
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1"));
  runner_.OnEvent(ClaimEvent(EventType::kDeleted, "db", "pv1"));
  Expect("failures", [this] { return runner_.Status().failures >= 3; });
  catalog_.SetError(absl::OkStatus());
  ExpectIdle();
  EXPECT_TRUE(catalog_.Has(VolumeKey("pv1")));
}

TEST_F(ActionRunnerTest, WhatWentWhileTheAgentWasDownIsDeletedAndTheRestStays) {
  const auto put = [this](const ObjectKey& key, const std::string& volume, const std::string& server) {
    const json object = {{"spec", {{"nfs", {{"server", server}, {"path", "/export/" + volume}}}}}};
    ASSERT_EQ(catalog_.Put({.key = key,
                            .uid = "u",
                            .resource = object.dump(),
                            .volume = volume,
                            .replica_path = "/r",
                            .server = server,
                            .observed_at = {}}),
              absl::OkStatus());
  };
  put(VolumeKey("here"), "here", "nfs1");
  put(VolumeKey("gone"), "gone", "nfs1");
  put(VolumeKey("others"), "others", "nfs9");
  put(ClaimKey("here"), "here", "nfs1");
  put(ClaimKey("gone"), "gone", "nfs1");
  put(ClaimKey("others"), "others", "nfs9");
  catalog_.SetError(absl::UnavailableError("DR is away"));
  Start();
  runner_.OnSynced(ObjectKind::kPersistentVolume, {VolumeKey("here")});
  EXPECT_FALSE(runner_.Status().reconciled);
  runner_.OnSynced(ObjectKind::kPersistentVolumeClaim, {ClaimKey("here")});
  Expect("a failure", [this] { return runner_.Status().failures > 0; });
  volumes_.SetDiscardError(absl::UnavailableError("DR went away again"));
  catalog_.SetError(absl::OkStatus());
  Expect("the reconciliation", [this] { return runner_.Status().reconciled; });
  Expect("the data to be asked for again", [this] { return volumes_.DiscardCalls() >= 2; });
  volumes_.SetDiscardError(absl::OkStatus());
  ExpectIdle();
  EXPECT_EQ(volumes_.Discarded(), (std::map<std::string, std::string>{{"gone", "/replica/gone"}}));
  EXPECT_TRUE(catalog_.Has(VolumeKey("here")));
  EXPECT_FALSE(catalog_.Has(VolumeKey("gone")));
  EXPECT_TRUE(catalog_.Has(VolumeKey("others")));
  EXPECT_TRUE(catalog_.Has(ClaimKey("here")));
  EXPECT_FALSE(catalog_.Has(ClaimKey("gone")));
  EXPECT_TRUE(catalog_.Has(ClaimKey("others")));
}

TEST_F(ActionRunnerTest, NothingIsDeletedBecauseOfOneKindsList) {
  ASSERT_EQ(catalog_.Put({.key = ClaimKey("db"),
                          .uid = "u",
                          .resource = "{}",
                          .volume = "pv",
                          .replica_path = "/r",
                          .server = "nfs1",
                          .observed_at = {}}),
            absl::OkStatus());
  Start();
  runner_.OnSynced(ObjectKind::kPersistentVolume, {});
  runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv1"));
  ExpectIdle();
  EXPECT_FALSE(runner_.Status().reconciled);
  EXPECT_TRUE(catalog_.Has(ClaimKey("db")));
}

TEST_F(ActionRunnerTest, SendersWaitWhenTooMuchIsLeftToDoAndAreLetGoAtTheEnd) {
  Start();
  catalog_.SetError(absl::UnavailableError("DR is away"));
  for (const char* name : {"pv1", "pv2", "pv3", "pv4"}) runner_.OnEvent(VolumeEvent(EventType::kAdded, name));
  runner_.OnEvent(VolumeEvent(EventType::kModified, "pv1"));  // takes no more room
  std::atomic<bool> returned = false;
  std::thread sender([&] {
    runner_.OnEvent(VolumeEvent(EventType::kAdded, "pv5"));
    returned = true;
  });
  Expect("many failures", [this] { return runner_.Status().failures > 20; });
  EXPECT_FALSE(returned);
  thread_.request_stop();
  sender.join();
}

class ActionObserverTest : public ActionRunnerTest {
 protected:
  static model::ObjectEvent Named(model::ObjectEvent event, const std::string& event_id) {
    event.event_id = event_id;
    return event;
  }
  void StartObserved() {
    ActionRunnerOptions options = Options();
    options.observer = &observer_;
    observed_.emplace(volumes_, catalog_, options);
    thread_ = std::jthread([this](std::stop_token stop) { observed_->Run(stop); });
  }
  void ExpectLast(const std::string& event_id, ActionResult result) {
    Expect(event_id, [&] {
      const std::vector<ActionResult> results = observer_.Results(event_id);
      return !results.empty() && results.back() == result;
    });
  }

  tests::RecordingObserver observer_;
  std::optional<ActionRunner> observed_;
  std::jthread thread_;
};

TEST_F(ActionObserverTest, HearsWhatBecomesOfEachEvent) {
  StartObserved();
  observed_->OnEvent(Named(ClaimEvent(EventType::kAdded, "db", "pv1"), "claim"));
  ExpectLast("claim", ActionResult::kRetrying);
  EXPECT_EQ(observer_.Reason("claim"), "waits for PersistentVolume pv1");
  volumes_.SetMissing("/export/pv1", true);
  observed_->OnEvent(Named(VolumeEvent(EventType::kAdded, "pv1"), "volume"));
  ExpectLast("volume", ActionResult::kRetrying);
  volumes_.SetMissing("/export/pv1", false);
  ExpectLast("volume", ActionResult::kDone);
  ExpectLast("claim", ActionResult::kDone);
  observed_->OnEvent(Named(ClaimEvent(EventType::kAdded, "unbound", ""), "unbound"));
  EXPECT_EQ(observer_.Results("unbound"), std::vector<ActionResult>{ActionResult::kIgnored});
}

TEST_F(ActionObserverTest, AReplacedEventIsToldOfToo) {
  StartObserved();
  volumes_.SetSlow("pv1", true);
  observed_->OnEvent(Named(VolumeEvent(EventType::kAdded, "pv1"), "first"));
  Expect("the sync", [this] { return volumes_.Syncs("pv1") > 0; });
  observed_->OnEvent(Named(VolumeEvent(EventType::kModified, "pv1"), "second"));
  observed_->OnEvent(Named(VolumeEvent(EventType::kModified, "pv1"), "third"));
  EXPECT_EQ(observer_.Results("second"), std::vector<ActionResult>{ActionResult::kIgnored});
  observed_->OnEvent(Named(VolumeEvent(EventType::kDeleted, "pv1"), "gone"));
  ExpectLast("gone", ActionResult::kDone);
  ExpectLast("third", ActionResult::kIgnored);
  ExpectLast("first", ActionResult::kIgnored);
}

TEST_F(ActionObserverTest, ADeletionThatIsTriedAgainSpeaksForTheNewestEvent) {
  volumes_.SetDiscardError(absl::UnavailableError("DR is away"));
  StartObserved();
  observed_->OnEvent(Named(VolumeEvent(EventType::kDeleted, "pv1"), "gone"));
  ExpectLast("gone", ActionResult::kRetrying);
  observed_->OnEvent(Named(VolumeEvent(EventType::kDeleted, "pv1"), "gone-again"));
  ExpectLast("gone", ActionResult::kIgnored);
  volumes_.SetDiscardError(absl::OkStatus());
  ExpectLast("gone-again", ActionResult::kDone);
}

TEST_F(ActionObserverTest, WhatMayNotBeDeletedStaysWhenItIsGoneFromTheCluster) {
  const auto put = [&](const std::string& name) {
    model::CatalogEntry entry;
    entry.key = VolumeKey(name);
    entry.uid = "u1";
    entry.resource = VolumeEvent(EventType::kAdded, name).resource;
    ASSERT_TRUE(catalog_.Put(entry).ok());
  };
  put("kept");
  put("other");
  StartObserved();
  observed_->OnSynced(ObjectKind::kPersistentVolume, {});
  observed_->OnSynced(ObjectKind::kPersistentVolumeClaim, {});
  Expect("the other to go", [&] { return !catalog_.Has(VolumeKey("other")); });
  EXPECT_TRUE(catalog_.Has(VolumeKey("kept")));
}

}  // namespace
}  // namespace understudy::primary
