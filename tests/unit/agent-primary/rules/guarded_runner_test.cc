// The action runner with the guard on deletions of objects.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "agent-primary/rules/action_runner.h"
#include "nlohmann/json.hpp"
#include "tests/support/memory_catalog.h"
#include "tests/support/memory_volumes.h"
#include "tests/support/recording_observer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy::primary {
namespace {

using model::EventType;
using model::ObjectEvent;
using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;
using testing::IsEmpty;
using testing::SizeIs;

constexpr int kVolumes = 8;

ObjectKey VolumeKey(int i) {
  return {ObjectKind::kPersistentVolume, "", "pv" + std::to_string(i)};
}
ObjectKey ClaimKey(int i) {
  return {ObjectKind::kPersistentVolumeClaim, "shop", "db" + std::to_string(i)};
}

ObjectEvent VolumeEvent(EventType type, int i, bool concluded = false, const std::string& server = "nfs1") {
  const std::string name = VolumeKey(i).name;
  const json object = {{"metadata", {{"name", name}, {"uid", "u-" + name}}},
                       {"spec", {{"nfs", {{"server", server}, {"path", "/export/" + name}}}}}};
  return {.type = type,
          .key = VolumeKey(i),
          .resource = object.dump(),
          .event_id = "",
          .observed_at = {},
          .concluded = concluded};
}
ObjectEvent ClaimEvent(EventType type, int i, bool concluded = false) {
  const json object = {{"metadata", {{"name", ClaimKey(i).name}, {"namespace", "shop"}, {"uid", "c"}}},
                       {"spec", {{"volumeName", VolumeKey(i).name}}}};
  return {.type = type,
          .key = ClaimKey(i),
          .resource = object.dump(),
          .event_id = "",
          .observed_at = {},
          .concluded = concluded};
}

class GuardedRunnerTest : public testing::Test {
 protected:
  void SetUp() override {
    OpenKeeper();
    Start();
    for (int i = 0; i < kVolumes; ++i) {
      runner_->OnEvent(VolumeEvent(EventType::kAdded, i));
      runner_->OnEvent(ClaimEvent(EventType::kAdded, i));
    }
    Synced(kVolumes);
    ExpectIdle();
    // What is deleted while DR's catalog is read would still count as being there.
    Expect("the reconciliation", [this] { return runner_->Status().reconciled; });
    ExpectIdle();  // it may have put again what was on its way when it read the catalog
  }
  void OpenKeeper() {
    auto keeper = ObjectKeeper::Open(folder_.File("guard.db"), {.max_delete_fraction = 0.5, .min_objects = 3},
                                     [this] { return Cluster(); });
    ASSERT_TRUE(keeper.ok()) << keeper.status();
    keeper_ = *std::move(keeper);
  }
  void Start() {
    runner_.emplace(volumes_, catalog_,
                    ActionRunnerOptions{.workers = 3,
                                        .retry_first = absl::Milliseconds(1),
                                        .retry_longest = absl::Milliseconds(5),
                                        .held_retry = held_retry_,
                                        .reconcile_interval = reconcile_interval_,
                                        .lookup = [this](const ObjectKey& key) { return LookUp(key); },
                                        .keeper = keeper_.get(),
                                        .observer = &observer_});
    thread_ = std::jthread([this](std::stop_token stop) { runner_->Run(stop); });
  }
  // As an agent that ends and starts anew.
  void Restart() {
    thread_ = {};
    runner_.reset();
    keeper_.reset();
    OpenKeeper();
    Start();
  }
  // A complete list of each kind, with the first `count` of them.
  void Synced(int count) {
    std::set<ObjectKey> volumes;
    std::set<ObjectKey> claims;
    for (int i = 0; i < count; ++i) {
      volumes.insert(VolumeKey(i));
      claims.insert(ClaimKey(i));
    }
    runner_->OnSynced(ObjectKind::kPersistentVolume, volumes);
    runner_->OnSynced(ObjectKind::kPersistentVolumeClaim, claims);
  }
  // What ListWatch says when a list holds only the first `count`.
  void ListOnly(int count) {
    for (int i = count; i < kVolumes; ++i) runner_->OnEvent(VolumeEvent(EventType::kDeleted, i, true));
    for (int i = count; i < kVolumes; ++i) runner_->OnEvent(ClaimEvent(EventType::kDeleted, i, true));
    Synced(count);
  }
  void Expect(const std::string& what, const std::function<bool()>& predicate) {
    EXPECT_EQ(tests::WaitFor(what, absl::Seconds(30), predicate), absl::OkStatus());
  }
  void ExpectIdle() {
    Expect("nothing left to do", [this] { return runner_->Status().pending == 0; });
  }
  void ExpectLast(const std::string& event_id, ActionResult result) {
    Expect(event_id, [&] {
      const std::vector<ActionResult> results = observer_.Results(event_id);
      return !results.empty() && results.back() == result;
    });
  }
  void ExpectHeld(const std::string& kind, uint64_t gone) {
    Expect(std::to_string(gone) + " of " + kind + " to be held", [&] {
      for (const ObjectGuardReport& report : keeper_->Reports()) {
        if (report.kind == kind) return report.gone == gone;
      }
      return gone == 0;
    });
  }
  int VolumesInCatalog() {
    int count = 0;
    for (int i = 0; i < kVolumes; ++i) count += catalog_.Has(VolumeKey(i)) ? 1 : 0;
    return count;
  }
  int ClaimsInCatalog() {
    int count = 0;
    for (int i = 0; i < kVolumes; ++i) count += catalog_.Has(ClaimKey(i)) ? 1 : 0;
    return count;
  }
  // Everything is there when it is asked for by name.
  void SetAllThere() {
    for (int i = 0; i < kVolumes; ++i) {
      SetThere(VolumeKey(i), VolumeEvent(EventType::kAdded, i).resource);
      SetThere(ClaimKey(i), ClaimEvent(EventType::kAdded, i).resource);
    }
  }
  void SetThere(const ObjectKey& key, const std::string& resource) {
    absl::MutexLock lock(&mutex_);
    there_[key] = resource;
  }
  void SetLookupError(const absl::Status& error) {
    absl::MutexLock lock(&mutex_);
    lookup_error_ = error;
  }
  absl::StatusOr<std::string> LookUp(const ObjectKey& key) {
    absl::MutexLock lock(&mutex_);
    if (!lookup_error_.ok()) return lookup_error_;
    const auto found = there_.find(key);
    if (found == there_.end()) return absl::NotFoundError(ToString(key));
    return found->second;
  }
  void SetCluster(absl::StatusOr<std::string> cluster) {
    absl::MutexLock lock(&mutex_);
    cluster_ = std::move(cluster);
  }
  absl::StatusOr<std::string> Cluster() {
    absl::MutexLock lock(&mutex_);
    return cluster_;
  }

  tests::TempDir folder_;
  tests::RecordingObserver observer_;
  tests::MemoryVolumes volumes_;
  tests::MemoryCatalog catalog_;
  absl::Mutex mutex_;
  absl::StatusOr<std::string> cluster_ ABSL_GUARDED_BY(mutex_) = "c1";
  std::map<ObjectKey, std::string> there_ ABSL_GUARDED_BY(mutex_);  // when it is looked up
  absl::Status lookup_error_ ABSL_GUARDED_BY(mutex_);
  absl::Duration reconcile_interval_ = absl::Minutes(10);
  absl::Duration held_retry_ = absl::Minutes(1);
  std::unique_ptr<ObjectKeeper> keeper_;
  std::optional<ActionRunner> runner_;
  std::jthread thread_;
};

TEST_F(GuardedRunnerTest, AnEmptyListDeletesNothing) {
  ListOnly(0);
  ExpectHeld("objects:PersistentVolume", kVolumes);
  ExpectHeld("objects:PersistentVolumeClaim", kVolumes);
  EXPECT_EQ(VolumesInCatalog(), kVolumes);
  EXPECT_THAT(volumes_.Registered(), SizeIs(kVolumes)) << "they go on being replicated";
  EXPECT_THAT(volumes_.Discarded(), IsEmpty());
}

TEST_F(GuardedRunnerTest, AListThatLacksWhatIsThereDeletesNothing) {
  SetAllThere();
  ListOnly(kVolumes - 2);
  const auto is_doubted = [&] {
    return runner_->Doubts(ObjectKind::kPersistentVolume) && runner_->Doubts(ObjectKind::kPersistentVolumeClaim);
  };
  Expect("both lists to be doubted", is_doubted);
  ExpectIdle();
  Synced(kVolumes - 2);
  Expect("it to be told when a new list lacks it, too", [&] { return runner_->Status().doubts.size() == 2; });
  EXPECT_THAT(runner_->Status().doubts, testing::Contains(testing::HasSubstr("pv6, which is there")));
  EXPECT_EQ(VolumesInCatalog(), kVolumes);
  EXPECT_EQ(ClaimsInCatalog(), kVolumes);
  EXPECT_THAT(volumes_.Discarded(), IsEmpty());
  EXPECT_THAT(volumes_.Registered(), SizeIs(kVolumes));
  Synced(kVolumes);
  Expect("the doubts to end", [&] { return runner_->Status().doubts.empty() && !is_doubted(); });
}

TEST_F(GuardedRunnerTest, WhatAnotherPutIntoTheCatalogStaysAlthoughNoListShowsIt) {
  const int other = kVolumes;
  SetThere(VolumeKey(other), VolumeEvent(EventType::kAdded, other).resource);
  ASSERT_EQ(catalog_.Put({.key = VolumeKey(other),
                          .uid = "u",
                          .resource = VolumeEvent(EventType::kAdded, other).resource,
                          .volume = VolumeKey(other).name,
                          .replica_path = "/r",
                          .server = "nfs1",
                          .observed_at = {}}),
            absl::OkStatus());
  std::set<ObjectKey> claims;
  for (int i = 0; i < kVolumes; ++i) claims.insert(ClaimKey(i));
  runner_->OnSynced(ObjectKind::kPersistentVolumeClaim, claims);
  Expect("it to be looked for", [&] { return runner_->Doubts(ObjectKind::kPersistentVolume); });
  ExpectIdle();
  EXPECT_TRUE(catalog_.Has(VolumeKey(other)));
  EXPECT_THAT(volumes_.Discarded(), IsEmpty());
}

TEST_F(GuardedRunnerTest, WhatCannotBeLookedUpStaysUntilItCan) {
  SetLookupError(absl::UnavailableError("no answer"));
  ListOnly(kVolumes - 2);
  Expect("it to be tried again", [&] { return runner_->Status().failures > 20; });
  EXPECT_EQ(VolumesInCatalog(), kVolumes);
  EXPECT_EQ(ClaimsInCatalog(), kVolumes);
  SetLookupError(absl::OkStatus());
  Expect("the deletions", [&] { return VolumesInCatalog() == kVolumes - 2; });
}

TEST_F(GuardedRunnerTest, WhatTheCatalogLostIsPutAgainWithoutANewList) {
  SetAllThere();
  reconcile_interval_ = absl::Milliseconds(10);
  Restart();
  for (int i = 0; i < kVolumes; ++i) {
    runner_->OnEvent(VolumeEvent(EventType::kAdded, i));
    runner_->OnEvent(ClaimEvent(EventType::kAdded, i));
  }
  Synced(kVolumes);
  ExpectIdle();
  catalog_.Forget();
  Expect("all of it to be back", [&] { return VolumesInCatalog() == kVolumes && ClaimsInCatalog() == kVolumes; });
  EXPECT_THAT(volumes_.Discarded(), IsEmpty());
}

TEST_F(GuardedRunnerTest, DataThatWasToBeDiscardedWhenTheAgentEndedIsDiscardedByTheNext) {
  volumes_.SetDiscardError(absl::UnavailableError("DR is away"));
  runner_->OnEvent(VolumeEvent(EventType::kDeleted, kVolumes - 1));
  Expect("DR to be asked", [&] { return volumes_.DiscardCalls() > 0; });
  EXPECT_EQ(VolumesInCatalog(), kVolumes - 1);
  Restart();
  volumes_.SetDiscardError(absl::OkStatus());
  Synced(kVolumes - 1);
  Expect("the data to go", [&] { return volumes_.Discarded().contains("pv7"); });
  ExpectIdle();
  EXPECT_THAT(volumes_.Discarded(), SizeIs(1));
  EXPECT_THAT(keeper_->Approved(ObjectKind::kPersistentVolume), IsEmpty());
}

TEST_F(GuardedRunnerTest, DataOfAVolumeThatIsBackIsNotDiscardedByTheNextAgent) {
  volumes_.SetDiscardError(absl::UnavailableError("DR is away"));
  runner_->OnEvent(VolumeEvent(EventType::kDeleted, kVolumes - 1));
  Expect("DR to be asked", [&] { return volumes_.DiscardCalls() > 0; });
  Restart();
  volumes_.SetDiscardError(absl::OkStatus());
  runner_->OnEvent(VolumeEvent(EventType::kAdded, kVolumes - 1));
  Synced(kVolumes);
  ExpectIdle();
  Expect("the comparison", [&] { return runner_->Status().reconciled; });
  EXPECT_THAT(volumes_.Discarded(), IsEmpty());
  EXPECT_EQ(VolumesInCatalog(), kVolumes);
}

// A PersistentVolume of the name of another, with its data elsewhere.
ObjectEvent MadeAnew(int i) {
  ObjectEvent event = VolumeEvent(EventType::kAdded, i);
  event.resource = R"({"metadata":{"uid":"anew"},"spec":{"nfs":{"server":"nfs1","path":"/export/elsewhere"}}})";
  return event;
}

TEST_F(GuardedRunnerTest, AVolumeThatWasMadeAnewElsewhereWhileNobodyWatchedTakesTheNameOver) {
  runner_->OnEvent(VolumeEvent(EventType::kDeleted, 0, /*concluded=*/true));
  runner_->OnEvent(MadeAnew(0));
  ExpectIdle();
  EXPECT_EQ(catalog_.Find(VolumeKey(0))->uid, "anew");
  EXPECT_EQ(volumes_.Registered()["pv0"], "/export/elsewhere");
  EXPECT_EQ(volumes_.Discarded(), (std::map<std::string, std::string>{{"pv0", "/replica/pv0"}}));
}

TEST_F(GuardedRunnerTest, SoItDoesWhenTheAgentWasDownMeanwhile) {
  Restart();
  runner_->OnEvent(MadeAnew(0));
  for (int i = 1; i < kVolumes; ++i) runner_->OnEvent(VolumeEvent(EventType::kAdded, i));
  for (int i = 0; i < kVolumes; ++i) runner_->OnEvent(ClaimEvent(EventType::kAdded, i));
  Synced(kVolumes);
  ExpectIdle();
  EXPECT_EQ(catalog_.Find(VolumeKey(0))->uid, "anew");
  EXPECT_EQ(volumes_.Registered()["pv0"], "/export/elsewhere");
  EXPECT_EQ(volumes_.Discarded(), (std::map<std::string, std::string>{{"pv0", "/replica/pv0"}}));
}

TEST_F(GuardedRunnerTest, SoItDoesWhenTheAgentEndsBeforeTheEarlierDataIsDiscarded) {
  volumes_.SetDiscardError(absl::UnavailableError("DR is away"));
  runner_->OnEvent(VolumeEvent(EventType::kDeleted, 0));
  Expect("DR to be asked", [&] { return volumes_.DiscardCalls() > 0; });
  Restart();
  volumes_.SetDiscardError(absl::OkStatus());
  // DR gives the name to one place at a time.
  ASSERT_EQ(volumes_.Register("pv0", {.path = "/export/pv0", .replica_path = "/replica/pv0"}), absl::OkStatus());
  runner_->OnEvent(MadeAnew(0));
  ExpectIdle();
  EXPECT_EQ(catalog_.Find(VolumeKey(0))->uid, "anew");
  EXPECT_EQ(volumes_.Registered()["pv0"], "/export/elsewhere");
  EXPECT_EQ(volumes_.Discarded(), (std::map<std::string, std::string>{{"pv0", "/replica/pv0"}}));
  EXPECT_THAT(keeper_->Approved(ObjectKind::kPersistentVolume), IsEmpty());
}

// Of the volume with the name of another, in `folder`, bound to the claim with `owner`.
ObjectEvent BoundAnew(int i, const std::string& owner, const std::string& folder) {
  ObjectEvent event = VolumeEvent(EventType::kAdded, i);
  json object = json::parse(event.resource);
  object["metadata"]["uid"] = "anew-" + folder;
  object["spec"]["claimRef"] = {{"uid", owner}};
  object["spec"]["nfs"]["path"] = "/export/" + folder;
  event.resource = object.dump();
  return event;
}
ObjectEvent ClaimAnew(int i) {
  ObjectEvent event = ClaimEvent(EventType::kAdded, i);
  json object = json::parse(event.resource);
  object["metadata"]["uid"] = "c-anew";
  event.resource = object.dump();
  return event;
}

TEST_F(GuardedRunnerTest, AClaimThatWasMadeAnewWaitsForTheVolumeThatIsBoundToIt) {
  runner_->OnEvent(BoundAnew(0, "c", "pv0"));
  ExpectIdle();
  SetThere(VolumeKey(0), BoundAnew(0, "c", "pv0").resource);
  runner_->OnEvent(ClaimAnew(0));
  Expect("the claim to wait", [this] { return runner_->Status().waiting == 1; });
  EXPECT_EQ(catalog_.Find(ClaimKey(0))->uid, "c");
  runner_->OnEvent(BoundAnew(0, "c-anew", "elsewhere"));
  ExpectIdle();
  EXPECT_EQ(catalog_.Find(ClaimKey(0))->uid, "c-anew");
  EXPECT_EQ(catalog_.Find(ClaimKey(0))->replica_path, "/replica/elsewhere");
  EXPECT_EQ(runner_->Status().waiting, 0U);
}

TEST_F(GuardedRunnerTest, AClaimDoesNotWaitForAnEventThatNobodyTells) {
  runner_->OnEvent(BoundAnew(0, "c", "pv0"));
  ExpectIdle();
  SetThere(VolumeKey(0), BoundAnew(0, "c-anew", "pv0").resource);
  runner_->OnEvent(ClaimAnew(0));
  ExpectIdle();
  EXPECT_EQ(catalog_.Find(ClaimKey(0))->uid, "c-anew");
}

TEST_F(GuardedRunnerTest, WhatWasMadeAnewOutsideThisPairIsNotAtDrAnyMore) {
  SetAllThere();
  for (const int i : {0, 1}) {
    ObjectEvent bound = VolumeEvent(EventType::kModified, i);
    json object = json::parse(bound.resource);
    object["spec"]["claimRef"] = {{"uid", "c"}};
    bound.resource = object.dump();
    runner_->OnEvent(bound);
  }
  ExpectIdle();
  ObjectEvent elsewhere = BoundAnew(0, "c-anew", "pv0");
  json object = json::parse(elsewhere.resource);
  object["spec"]["nfs"]["server"] = "nfs9";
  elsewhere.resource = object.dump();
  ObjectEvent not_on_nfs = BoundAnew(1, "c-anew", "pv1");
  object = json::parse(not_on_nfs.resource);
  object["spec"].erase("nfs");
  object["spec"]["hostPath"] = {{"path", "/x"}};
  not_on_nfs.resource = object.dump();
  for (const ObjectEvent& event : {elsewhere, not_on_nfs}) runner_->OnEvent(event);
  for (const int i : {0, 1}) runner_->OnEvent(ClaimAnew(i));
  ExpectIdle();
  for (const int i : {0, 1}) {
    EXPECT_FALSE(catalog_.Has(VolumeKey(i))) << i;
    EXPECT_FALSE(catalog_.Has(ClaimKey(i))) << i;
  }
  EXPECT_THAT(volumes_.Discarded(), SizeIs(2));
  EXPECT_EQ(VolumesInCatalog(), kVolumes - 2);
}

TEST_F(GuardedRunnerTest, AClaimThatIsDeletedWhileItWaitsWaitsNoLonger) {
  runner_->OnEvent(BoundAnew(0, "c", "pv0"));
  ExpectIdle();
  SetThere(VolumeKey(0), BoundAnew(0, "c", "pv0").resource);
  runner_->OnEvent(ClaimAnew(0));
  Expect("the claim to wait", [this] { return runner_->Status().waiting == 1; });
  runner_->OnEvent(ClaimEvent(EventType::kDeleted, 0, /*concluded=*/true));
  std::set<ObjectKey> volumes;
  std::set<ObjectKey> claims;
  for (int i = 0; i < kVolumes; ++i) volumes.insert(VolumeKey(i));
  for (int i = 1; i < kVolumes; ++i) claims.insert(ClaimKey(i));
  runner_->OnSynced(ObjectKind::kPersistentVolume, volumes);
  runner_->OnSynced(ObjectKind::kPersistentVolumeClaim, claims);
  Expect("it to be deleted", [this] { return !catalog_.Has(ClaimKey(0)); });
  ExpectIdle();
  EXPECT_EQ(runner_->Status().waiting, 0U);
}

TEST_F(GuardedRunnerTest, AVolumeThatWasMadeAnewAtItsPlaceKeepsItsReplica) {
  ObjectEvent anew = VolumeEvent(EventType::kAdded, 0);
  anew.resource = R"({"metadata":{"uid":"anew"},"spec":{"nfs":{"server":"nfs1","path":"/export/pv0"}}})";
  runner_->OnEvent(VolumeEvent(EventType::kDeleted, 0, /*concluded=*/true));
  runner_->OnEvent(anew);
  ExpectIdle();
  EXPECT_EQ(catalog_.Find(VolumeKey(0))->uid, "anew");
  EXPECT_THAT(volumes_.Discarded(), IsEmpty());
}

TEST_F(GuardedRunnerTest, AListThatLacksALittleDeletesThat) {
  ListOnly(kVolumes - 2);
  Expect("the deletions", [&] { return VolumesInCatalog() == kVolumes - 2; });
  ExpectIdle();
  EXPECT_THAT(volumes_.Discarded(), SizeIs(2));
  EXPECT_THAT(keeper_->Reports(), IsEmpty());
}

TEST_F(GuardedRunnerTest, WhatComesBackIsHeldNoLonger) {
  ListOnly(0);
  ExpectHeld("objects:PersistentVolume", kVolumes);
  for (int i = 0; i < kVolumes; ++i) {
    runner_->OnEvent(VolumeEvent(EventType::kAdded, i));
    runner_->OnEvent(ClaimEvent(EventType::kAdded, i));
  }
  Synced(kVolumes);
  ExpectHeld("objects:PersistentVolume", 0);
  ExpectHeld("objects:PersistentVolumeClaim", 0);
  ExpectIdle();
  EXPECT_EQ(VolumesInCatalog(), kVolumes);
  EXPECT_THAT(volumes_.Discarded(), IsEmpty());
}

TEST_F(GuardedRunnerTest, DeletionsThatAreSeenAreHeldFromHalfOnAndGoWhenApproved) {
  for (int i = 0; i < 6; ++i) runner_->OnEvent(VolumeEvent(EventType::kDeleted, i));
  ExpectHeld("objects:PersistentVolume", 2);
  ExpectIdle();
  EXPECT_EQ(VolumesInCatalog(), 4);
  EXPECT_THAT(volumes_.Discarded(), SizeIs(4));
  EXPECT_TRUE(absl::IsFailedPrecondition(runner_->ApproveGuard("objects:PersistentVolume", 1)));
  EXPECT_EQ(runner_->ApproveGuard("objects:PersistentVolume", 2), absl::OkStatus());
  Expect("the approved deletions", [&] { return VolumesInCatalog() == 2; });
  ExpectIdle();
  EXPECT_THAT(volumes_.Discarded(), SizeIs(6));
  EXPECT_THAT(keeper_->Reports(), IsEmpty());
}

TEST_F(GuardedRunnerTest, AnAgentThatStartsAnewHoldsTheSameBack) {
  ListOnly(0);
  ExpectHeld("objects:PersistentVolume", kVolumes);
  Restart();
  ExpectHeld("objects:PersistentVolume", kVolumes);
  Synced(0);
  Expect("the comparison", [&] { return runner_->Status().reconciled; });
  ExpectIdle();
  ExpectHeld("objects:PersistentVolume", kVolumes);
  EXPECT_EQ(VolumesInCatalog(), kVolumes);
  ASSERT_EQ(runner_->ApproveGuard("objects:PersistentVolume", kVolumes), absl::OkStatus());
  Expect("the approved deletions", [&] { return VolumesInCatalog() == 0; });
}

TEST_F(GuardedRunnerTest, AnotherClusterDeletesNothing) {
  SetCluster("c2");
  Restart();
  runner_->OnEvent(VolumeEvent(EventType::kAdded, 0));
  Synced(kVolumes);
  Expect("the alert", [&] { return !keeper_->Reports().empty(); });
  EXPECT_EQ(keeper_->Reports()[0].kind, "cluster");
  runner_->OnEvent(VolumeEvent(EventType::kDeleted, 0));
  runner_->OnEvent(VolumeEvent(EventType::kDeleted, 1, true));
  Synced(kVolumes - 1);
  Expect("it to be tried again", [&] { return runner_->Status().failures > 20; });
  EXPECT_EQ(VolumesInCatalog(), kVolumes);
  EXPECT_THAT(volumes_.Discarded(), IsEmpty());
  // Nor does it take the place of what is there.
  runner_->OnEvent(BoundAnew(2, "c", "pv2"));
  Expect("it to be tried", [this] {
    for (const ObjectProblem& problem : runner_->Status().problems) {
      if (problem.key == VolumeKey(2)) return true;
    }
    return false;
  });
  EXPECT_EQ(catalog_.Find(VolumeKey(2))->uid, "u-pv2");
  ASSERT_EQ(runner_->ApproveGuard("cluster", 0), absl::OkStatus());
  Expect("it to be at DR", [this] { return catalog_.Find(VolumeKey(2))->uid == "anew-pv2"; });
  Expect("the deletion", [&] { return !catalog_.Has(VolumeKey(0)); });
}

// As after a failover: virtual machines at DR use the claim.
TEST_F(GuardedRunnerTest, WhatBelongsToALiveVolumeIsHeldAndGoesOnWhenItIsDemoted) {
  held_retry_ = absl::Milliseconds(2);
  Restart();
  catalog_.SetLive(VolumeKey(0).name, true);
  ObjectEvent claim = ClaimEvent(EventType::kDeleted, 0);
  claim.event_id = "claim";
  ObjectEvent volume = VolumeEvent(EventType::kDeleted, 0);
  volume.event_id = "volume";
  runner_->OnEvent(claim);
  runner_->OnEvent(volume);
  ExpectLast("claim", ActionResult::kHeld);
  ExpectLast("volume", ActionResult::kHeld);
  EXPECT_THAT(observer_.Reason("claim"), testing::HasSubstr("held back while"));
  Expect("more tries", [this] { return catalog_.HeldBackCount() > 10; });
  EXPECT_TRUE(catalog_.Has(ClaimKey(0)) && catalog_.Has(VolumeKey(0)));
  EXPECT_THAT(volumes_.Discarded(), IsEmpty());
  EXPECT_THAT(observer_.Results("claim"), testing::Each(ActionResult::kHeld));
  const ActionRunnerStatus status = runner_->Status();
  EXPECT_EQ(status.failures, 0U);
  ASSERT_THAT(status.problems, SizeIs(2));
  EXPECT_THAT(status.problems[0].message, testing::HasSubstr("held back while"));
  EXPECT_TRUE(status.problems[0].held && status.problems[1].held);

  // The agent forgets what it knew, and the list tells it again.
  Restart();
  std::set<ObjectKey> volumes;
  std::set<ObjectKey> claims;
  for (int i = 1; i < kVolumes; ++i) {
    runner_->OnEvent(VolumeEvent(EventType::kAdded, i));
    runner_->OnEvent(ClaimEvent(EventType::kAdded, i));
    volumes.insert(VolumeKey(i));
    claims.insert(ClaimKey(i));
  }
  runner_->OnSynced(ObjectKind::kPersistentVolume, volumes);
  runner_->OnSynced(ObjectKind::kPersistentVolumeClaim, claims);
  Expect("both to be held again", [this] { return runner_->Status().problems.size() == 2; });
  EXPECT_TRUE(catalog_.Has(ClaimKey(0)) && catalog_.Has(VolumeKey(0)));

  catalog_.SetLive(VolumeKey(0).name, false);
  ExpectIdle();
  EXPECT_FALSE(catalog_.Has(ClaimKey(0)) || catalog_.Has(VolumeKey(0)));
  EXPECT_THAT(volumes_.Discarded(), testing::ElementsAre(testing::Key(VolumeKey(0).name)));
}

class MadeAnewTest : public GuardedRunnerTest, public testing::WithParamInterface<bool> {};

TEST_P(MadeAnewTest, AnObjectThatIsMadeAnewDoesntTakeALiveOnesPlace) {
  const bool deletion_was_seen = GetParam();
  held_retry_ = absl::Milliseconds(2);
  Restart();
  catalog_.SetLive(VolumeKey(0).name, true);
  if (deletion_was_seen) {
    runner_->OnEvent(ClaimEvent(EventType::kDeleted, 0));
    Expect("its deletion to be held", [this] { return runner_->Status().problems.size() == 1; });
  }
  // Of the same name, bound to another volume, which isn't promoted.
  const int other = kVolumes;
  runner_->OnEvent(VolumeEvent(EventType::kAdded, other));
  ObjectEvent anew = ClaimEvent(EventType::kAdded, 0);
  const json object = {{"metadata", {{"name", ClaimKey(0).name}, {"namespace", "shop"}, {"uid", "c2"}}},
                       {"spec", {{"volumeName", VolumeKey(other).name}}}};
  anew.resource = object.dump();
  anew.event_id = "anew";
  runner_->OnEvent(anew);
  if (!deletion_was_seen) ExpectLast("anew", ActionResult::kHeld);
  Expect("the other volume", [&] { return catalog_.Has(VolumeKey(other)); });
  const int before = catalog_.HeldBackCount();
  Expect("more tries", [&] { return catalog_.HeldBackCount() > before + 5; });
  EXPECT_EQ(catalog_.Find(ClaimKey(0))->uid, "c");
  catalog_.SetLive(VolumeKey(0).name, false);
  ExpectIdle();
  ExpectLast("anew", ActionResult::kDone);
  EXPECT_EQ(catalog_.Find(ClaimKey(0))->uid, "c2");
  EXPECT_TRUE(catalog_.Has(ClaimKey(0)));
}

INSTANTIATE_TEST_SUITE_P(DeletionSeenOrNot, MadeAnewTest, testing::Bool());

TEST_F(GuardedRunnerTest, AKindThatWasGoneAndComesBackEmptyDeletesNothing) {
  const ObjectKey snapshot{ObjectKind::kVolumeSnapshot, "shop", "s"};
  ASSERT_EQ(catalog_.Put({.key = snapshot,
                          .uid = "s1",
                          .resource = "{}",
                          .volume = VolumeKey(0).name,
                          .replica_path = "/r",
                          .server = "nfs1",
                          .observed_at = {}}),
            absl::OkStatus());
  runner_->OnSynced(ObjectKind::kVolumeSnapshot, {});
  runner_->OnSynced(ObjectKind::kVolumeSnapshotContent, {});
  ExpectHeld("objects:VolumeSnapshot", 1);
  EXPECT_TRUE(catalog_.Has(snapshot));
}

TEST_F(GuardedRunnerTest, EventsOfDeletionsThatAreHeldAreToldOfAsHeldThenAsDone) {
  const auto named = [](ObjectEvent event) {
    event.event_id = (event.concluded ? "listed-" : "seen-") + event.key.name;
    return event;
  };
  for (int i = 0; i < 4; ++i) runner_->OnEvent(named(VolumeEvent(EventType::kDeleted, i)));
  ExpectIdle();
  runner_->OnEvent(named(VolumeEvent(EventType::kDeleted, 4)));
  ExpectHeld("objects:PersistentVolume", 1);
  ExpectLast("seen-pv0", ActionResult::kDone);
  ExpectLast("seen-pv4", ActionResult::kHeld);
  EXPECT_THAT(observer_.Reason("seen-pv4"), testing::HasSubstr("drctl guard list"));
  for (int i = 4; i < kVolumes; ++i) runner_->OnEvent(named(VolumeEvent(EventType::kDeleted, i, true)));
  Synced(0);
  ExpectHeld("objects:PersistentVolume", 4);
  ExpectLast("listed-pv7", ActionResult::kHeld);
  // After a restart the events are known by what the keeper wrote down.
  Restart();
  ASSERT_EQ(runner_->ApproveGuard("objects:PersistentVolume", 4), absl::OkStatus());
  ExpectLast("listed-pv7", ActionResult::kDone);
  ExpectIdle();
  EXPECT_EQ(VolumesInCatalog(), 0);
}

TEST_F(GuardedRunnerTest, WhatAListLacksAndIsBackIsToldOfAsReplaced) {
  ObjectEvent gone = VolumeEvent(EventType::kDeleted, 0, true);
  gone.event_id = "gone";
  runner_->OnEvent(gone);
  runner_->OnEvent(VolumeEvent(EventType::kAdded, 0));
  ExpectLast("gone", ActionResult::kIgnored);
  ExpectIdle();
  EXPECT_EQ(VolumesInCatalog(), kVolumes);
}

TEST_F(GuardedRunnerTest, AnotherPairsVolumesAreNotCounted) {
  for (int i = 100; i < 120; ++i) runner_->OnEvent(VolumeEvent(EventType::kDeleted, i, false, "nfs9"));
  for (int i = 200; i < 220; ++i) runner_->OnEvent(VolumeEvent(EventType::kDeleted, i, true, "nfs9"));
  Synced(kVolumes);
  ExpectIdle();
  runner_->OnEvent(VolumeEvent(EventType::kDeleted, 0));
  Expect("the deletion", [&] { return VolumesInCatalog() == kVolumes - 1; });
  EXPECT_THAT(keeper_->Reports(), IsEmpty());
}

TEST_F(GuardedRunnerTest, ALateDeletionOfAnEarlierObjectIsPassedOver) {
  ObjectEvent late = VolumeEvent(EventType::kDeleted, 0);
  late.resource = R"({"metadata":{"uid":"earlier"},"spec":{"nfs":{"server":"nfs1","path":"/export/pv0"}}})";
  runner_->OnEvent(late);
  ExpectIdle();
  EXPECT_TRUE(catalog_.Has(VolumeKey(0)));
  EXPECT_TRUE(volumes_.Registered().contains("pv0"));
}

}  // namespace
}  // namespace understudy::primary
