#include "control/serve/follower.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "core/kube/client.h"
#include "tests/support/memory_catalog.h"
#include "tests/support/wait.h"

namespace understudy::control {
namespace {

using model::CatalogEntry;
using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;

ObjectKey VolumeKey(const std::string& name) {
  return {ObjectKind::kPersistentVolume, "", name};
}
ObjectKey ClaimKey(const std::string& name) {
  return {ObjectKind::kPersistentVolumeClaim, "shop", name};
}

CatalogEntry VolumeEntry(const std::string& name, const std::string& uid = "u1") {
  CatalogEntry entry;
  entry.key = VolumeKey(name);
  entry.uid = uid;
  entry.resource = json{{"spec", {{"nfs", {{"server", "nfs1"}, {"path", "/export/" + name}}}}}}.dump();
  entry.replica_path = "/replicas/" + name;
  return entry;
}

CatalogEntry ClaimEntry(const std::string& name, const std::string& volume) {
  CatalogEntry entry;
  entry.key = ClaimKey(name);
  entry.uid = "c-" + name;
  entry.resource = json{{"spec", {{"volumeName", volume}}}}.dump();
  return entry;
}

CatalogEntry ContentEntry(const std::string& name) {
  CatalogEntry entry;
  entry.key = {ObjectKind::kVolumeSnapshotContent, "", name};
  entry.uid = "vsc-" + name;
  entry.resource = json{{"spec", {{"driver", "nfs.csi.k8s.io"}, {"volumeSnapshotRef", {{"name", "nightly"}}}}},
                        {"status", {{"snapshotHandle", "nfs1#export#snap-1#snap-1#pvc-1"}}}}
                       .dump();
  entry.volume = name;
  entry.replica_path = "/replicas/snap-1";
  return entry;
}

CatalogEntry SnapshotEntry(const std::string& name, const std::string& content) {
  CatalogEntry entry;
  entry.key = {ObjectKind::kVolumeSnapshot, "shop", name};
  entry.uid = "vs-" + name;
  entry.resource = json{{"spec", json::object()}, {"status", {{"boundVolumeSnapshotContentName", content}}}}.dump();
  entry.volume = content;
  return entry;
}

// Writes down what is asked of it, and refuses what it is told to.
class RecordingApplier : public ObjectApplier {
 public:
  absl::Status Apply(const json& manifest) override {
    const std::string name = manifest["metadata"]["name"];
    return Note("apply " + name, name);
  }
  absl::StatusOr<DeleteOutcome> Delete(const ObjectKey& key, const std::string& source_uid) override {
    RETURN_IF_ERROR(Note("delete " + key.name + " " + source_uid, key.name));
    return DeleteOutcome::kDeleted;
  }
  void Refuse(const std::string& name, const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    refused_[name] = status;
  }
  // A call for `name` waits until it is released.
  void Hold(const std::string& name) {
    absl::MutexLock lock(&mutex_);
    held_ = name;
  }
  void Release() {
    absl::MutexLock lock(&mutex_);
    held_.clear();
  }
  std::vector<std::string> Done() {
    absl::MutexLock lock(&mutex_);
    return done_;
  }
  int Attempts() {
    absl::MutexLock lock(&mutex_);
    return attempts_;
  }

 private:
  absl::Status Note(const std::string& what, const std::string& name) {
    absl::MutexLock lock(&mutex_);
    ++attempts_;
    const auto released = [this, &name]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return held_ != name; };
    mutex_.Await(absl::Condition(&released));
    if (const auto refused = refused_.find(name); refused != refused_.end() && !refused->second.ok())
      return refused->second;
    done_.push_back(what);
    return absl::OkStatus();
  }

  absl::Mutex mutex_;
  std::string held_;
  std::map<std::string, absl::Status> refused_;
  std::vector<std::string> done_;
  int attempts_ = 0;
};

// Knows the archives that are at DR, by content.
class ArchivesAtDr : public SnapshotCheck {
 public:
  absl::Status Check(const CatalogEntry& content) override {
    absl::MutexLock lock(&mutex_);
    ++checks_;
    return there_.contains(content.key.name) ? absl::OkStatus() : absl::FailedPreconditionError("no archive");
  }
  void Add(const std::string& content) {
    absl::MutexLock lock(&mutex_);
    there_.insert(content);
  }
  int Checks() {
    absl::MutexLock lock(&mutex_);
    return checks_;
  }

 private:
  absl::Mutex mutex_;
  std::set<std::string> there_;
  int checks_ = 0;
};

// Moves when it is told to.
class SteppedClock : public Clock {
 public:
  absl::Time Now() const override { return absl::UnixEpoch() + Monotonic(); }
  absl::Duration Monotonic() const override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    now_ += by;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Duration now_ = absl::Hours(1);
};

class FollowerTest : public testing::Test {
 protected:
  void Start(absl::Duration resync = absl::Hours(1), int workers = 1, Clock& clock = Clock::System()) {
    FollowerOptions options;
    options.pair = "east";
    options.transform.dr_server = "dr-nfs";
    options.workers = workers;
    options.resync_interval = resync;
    options.retry_first = absl::Milliseconds(1);
    options.retry_longest = absl::Milliseconds(5);
    options.left_alone = [this](const std::string& volume) -> absl::StatusOr<bool> {
      if (!known_) return absl::UnavailableError("no answer");
      return turned_ && volume == "pv-turned";
    };
    follower_.emplace(options, catalog_, applier_, snapshots_, clock);
    thread_ = std::jthread([this](std::stop_token stop) { follower_->Run(stop); });
  }
  void Put(const CatalogEntry& entry) { ASSERT_EQ(catalog_.Put(entry), absl::OkStatus()); }
  void Delete(const CatalogEntry& entry) { ASSERT_EQ(catalog_.Delete(entry.key, entry.uid), absl::OkStatus()); }
  void Expect(const std::string& what, const std::function<bool()>& predicate) {
    EXPECT_EQ(tests::WaitFor(what, absl::Seconds(30), predicate), absl::OkStatus());
  }
  void ExpectSettled() {
    Expect("everything to be brought", [this] {
      const FollowerStatus status = follower_->Status();
      return status.caught_up && status.pending == 0;
    });
  }
  std::vector<std::string> DoneOnce(size_t count) {
    Expect("the calls", [this, count] { return applier_.Done().size() >= count; });
    return applier_.Done();
  }

  tests::MemoryCatalog catalog_;
  RecordingApplier applier_;
  ArchivesAtDr snapshots_;
  SteppedClock clock_;
  std::atomic<bool> turned_ = false;  // volume pv-turned was turned round
  std::atomic<bool> known_ = true;    // which volumes were
  std::optional<Follower> follower_;
  std::jthread thread_;
};

using Calls = std::vector<std::string>;

TEST_F(FollowerTest, BringsWhatTheCatalogHoldsAndWhatComes) {
  Put(VolumeEntry("pv1"));
  Start();
  ExpectSettled();
  EXPECT_EQ(applier_.Done(), (Calls{"apply pv1"}));
  Put(ClaimEntry("db", "pv1"));
  EXPECT_EQ(DoneOnce(2), (Calls{"apply pv1", "apply db"}));
  Delete(ClaimEntry("db", "pv1"));
  EXPECT_EQ(DoneOnce(3).back(), "delete db c-db");
  ExpectSettled();
  const FollowerStatus status = follower_->Status();
  EXPECT_TRUE(status.connected);
  EXPECT_EQ(status.applied, 2U);
  EXPECT_EQ(status.deleted, 1U);
}

TEST_F(FollowerTest, WhatWasTurnedRoundIsLeftAloneUntilItIsTurnedBack) {
  CatalogEntry turned = VolumeEntry("pv-turned");
  turned.volume = "pv-turned";
  turned_ = true;
  Put(turned);
  Put(VolumeEntry("pv1"));
  Start(/*resync=*/absl::Milliseconds(20));
  ExpectSettled();
  EXPECT_EQ(applier_.Done().front(), "apply pv1");
  EXPECT_EQ(std::ranges::count(applier_.Done(), "apply pv-turned"), 0);
  turned_ = false;
  Expect("the next reading to bring it", [this] { return std::ranges::count(applier_.Done(), "apply pv-turned") > 0; });
}

TEST_F(FollowerTest, ADeletionThatWasReadWhileItsVolumeWasTurnedIsMadeOnceItIsTurnedBack) {
  CatalogEntry turned = VolumeEntry("pv-turned");
  turned.volume = "pv-turned";
  turned_ = true;
  Put(turned);
  Delete(turned);
  Put(VolumeEntry("pv1"));
  Start(/*resync=*/absl::Milliseconds(20));
  ExpectSettled();
  EXPECT_EQ(std::ranges::count(applier_.Done(), "delete pv-turned u1"), 0);
  turned_ = false;
  Expect("the next reading to delete it",
         [this] { return std::ranges::count(applier_.Done(), "delete pv-turned u1") == 1; });
  const auto before = applier_.Done().size();
  DoneOnce(before + 3);
  EXPECT_EQ(std::ranges::count(applier_.Done(), "delete pv-turned u1"), 1);
}

TEST_F(FollowerTest, NothingIsTouchedBeforeItIsKnownWhatWasTurnedRound) {
  known_ = false;
  Put(VolumeEntry("pv1"));
  Put(VolumeEntry("gone"));
  Delete(VolumeEntry("gone"));
  Start();
  Expect("the reason", [this] { return follower_->Status().problems.size() == 2; });
  FollowerStatus status = follower_->Status();
  EXPECT_EQ(status.direction_error, "no answer");
  EXPECT_EQ(status.problems[0].message, "waits until it is known whether its volume was turned round: no answer");
  EXPECT_FALSE(status.caught_up);
  EXPECT_EQ(applier_.Attempts(), 0);
  known_ = true;
  ExpectSettled();
  EXPECT_EQ(applier_.Done().size(), 2U);
  EXPECT_EQ(follower_->Status().direction_error, "");
}

TEST_F(FollowerTest, OneThatCannotBeBroughtDoesNotHoldUpTheOthers) {
  applier_.Refuse("bad", absl::InvalidArgumentError("no such access mode"));
  CatalogEntry unusable = VolumeEntry("unusable");
  unusable.resource = "{}";
  Put(VolumeEntry("bad"));
  Put(unusable);
  Put(VolumeEntry("good"));
  Start();
  Expect("the good one", [this] { return applier_.Done() == Calls{"apply good"}; });
  Expect("two problems", [this] { return follower_->Status().problems.size() == 2 && follower_->Status().caught_up; });
  EXPECT_EQ(follower_->Status().pending, 2U);
  EXPECT_EQ(follower_->Status().problems[0].message, "no such access mode");
  applier_.Refuse("bad", absl::OkStatus());
  EXPECT_EQ(DoneOnce(2).back(), "apply bad");
  Put(VolumeEntry("unusable"));
  EXPECT_EQ(DoneOnce(3).back(), "apply unusable");
  ExpectSettled();
}

TEST_F(FollowerTest, ANewerEntryTakesThePlaceOfOneThatFails) {
  applier_.Refuse("pv1", absl::UnavailableError("DR is away"));
  Put(VolumeEntry("pv1"));
  Start();
  Expect("attempts", [this] { return applier_.Attempts() >= 2; });
  Delete(VolumeEntry("pv1"));
  Expect("it to be known", [this] { return catalog_.Find(VolumeKey("pv1"))->deleted; });
  applier_.Refuse("pv1", absl::OkStatus());
  ExpectSettled();
  EXPECT_EQ(applier_.Done().back(), "delete pv1 u1");
}

TEST_F(FollowerTest, AVolumeThatChangedHasItsClaimBroughtAgain) {
  const auto volume = [](const char* uid, const char* replica, const char* phase) {
    CatalogEntry entry = VolumeEntry("pv1", uid);
    json object = json::parse(entry.resource);
    object["spec"]["claimRef"] = {{"namespace", "shop"}, {"name", "db"}};
    object["status"]["phase"] = phase;
    entry.resource = object.dump();
    entry.replica_path = replica;
    return entry;
  };
  Put(volume("u1", "/replicas/pv1", "Available"));
  Put(ClaimEntry("db", "pv1"));
  Start();
  ExpectSettled();
  Put(volume("u1", "/replicas/pv1", "Bound"));  // no news for DR
  EXPECT_EQ(DoneOnce(3), (Calls{"apply pv1", "apply db", "apply pv1"}));
  Put(volume("u2", "/replicas/elsewhere", "Bound"));
  EXPECT_EQ(DoneOnce(5), (Calls{"apply pv1", "apply db", "apply pv1", "apply pv1", "apply db"}));
  // Not one that was deleted meanwhile.
  Delete(ClaimEntry("db", "pv1"));
  EXPECT_EQ(DoneOnce(6).back(), "delete db c-db");
  ExpectSettled();
  Put(volume("u3", "/replicas/third", "Available"));
  EXPECT_EQ(DoneOnce(7).back(), "apply pv1");
  ExpectSettled();
  EXPECT_EQ(applier_.Done().size(), 7U);
}

TEST_F(FollowerTest, VolumesComeBeforeClaimsAndClaimsGoBeforeVolumes) {
  applier_.Hold("gate");
  Put(VolumeEntry("gate"));
  Start();
  Expect("the one worker to be busy", [this] { return applier_.Attempts() == 1; });
  for (const char* name : {"a", "b"}) Put(ClaimEntry(name, std::string("pv-") + name));
  for (const char* name : {"a", "b"}) Put(VolumeEntry(std::string("pv-") + name));
  Delete(VolumeEntry("pv-a"));
  Delete(ClaimEntry("a", "pv-a"));
  Put(VolumeEntry("last"));
  Expect("all to be known", [this] { return follower_->Status().pending == 6; });
  applier_.Release();
  ExpectSettled();
  EXPECT_EQ(applier_.Done(),
            (Calls{"apply gate", "delete a c-a", "delete pv-a u1", "apply pv-b", "apply last", "apply b"}));
}

TEST_F(FollowerTest, ASnapshotIsAppliedWhenItsArchiveIsThere) {
  Put(SnapshotEntry("nightly", "content-1"));
  Put(ContentEntry("content-1"));
  Put(VolumeEntry("pv1"));
  Start();
  Expect("it to be looked for", [this] { return snapshots_.Checks() >= 2; });
  EXPECT_EQ(DoneOnce(1), (Calls{"apply pv1"}));
  Expect("two problems", [this] { return follower_->Status().problems.size() == 2; });
  EXPECT_EQ(follower_->Status().problems[0].message,
            "VolumeSnapshot shop/nightly waits for VolumeSnapshotContent content-1");
  EXPECT_EQ(follower_->Status().problems[1].message, "no archive");
  snapshots_.Add("content-1");
  ExpectSettled();
  EXPECT_EQ(applier_.Done(), (Calls{"apply pv1", "apply content-1", "apply nightly"}));
}

TEST_F(FollowerTest, ALostConnectionIsMadeAgainAndNothingIsDoneTwice) {
  Put(VolumeEntry("pv1"));
  Start();
  ExpectSettled();
  catalog_.SetError(absl::UnavailableError("DR's agent is away"));
  Expect("the loss", [this] { return !follower_->Status().connected; });
  EXPECT_EQ(follower_->Status().connection_error, "DR's agent is away");
  catalog_.SetError(absl::OkStatus());
  Put(VolumeEntry("pv2"));
  ExpectSettled();
  EXPECT_EQ(DoneOnce(2), (Calls{"apply pv1", "apply pv2"}));
}

TEST_F(FollowerTest, ACatalogThatWasMadeAnewIsRead) {
  Put(VolumeEntry("pv1", "u1"));
  Start();
  ExpectSettled();
  catalog_.SetError(absl::UnavailableError("DR's agent is away"));
  Expect("the loss", [this] { return !follower_->Status().connected; });
  catalog_.SetError(absl::OkStatus());
  catalog_.Forget();
  Put(VolumeEntry("pv1", "u2"));
  EXPECT_EQ(DoneOnce(2).size(), 2U);
  ExpectSettled();
}

TEST_F(FollowerTest, TheWholeCatalogIsComparedAgainInEachInterval) {
  Put(VolumeEntry("pv1"));
  Start(absl::Milliseconds(20));
  EXPECT_GE(DoneOnce(3).size(), 3U);
}

TEST_F(FollowerTest, WhatWasDeletedIsNotLookedForAgainInEachInterval) {
  Put(VolumeEntry("pv1"));
  Put(VolumeEntry("gone"));
  Start(absl::Milliseconds(20));
  DoneOnce(2);
  Delete(VolumeEntry("gone"));
  const auto count = [this](const std::string& call) {
    const Calls done = applier_.Done();
    return std::count(done.begin(), done.end(), call);
  };
  Expect("the deletion", [&] { return count("delete gone u1") > 0; });
  const auto before = count("apply pv1");
  Expect("more intervals", [&] { return count("apply pv1") >= before + 4; });
  EXPECT_EQ(count("delete gone u1"), 1);
  // The name is used again.
  Put(VolumeEntry("gone", "u2"));
  Expect("it to come back", [&] { return count("apply gone") >= 2; });
}

TEST_F(FollowerTest, AServerThatAsksForADaysPauseIsAskedAgainWithinMinutes) {
  net::HttpResponse busy;
  busy.status = 503;
  busy.headers["retry-after"] = "86400";
  applier_.Refuse("pv1", kube::StatusOfResponse(busy, "PATCH"));
  Put(VolumeEntry("pv1"));
  Start(absl::Hours(1), 1, clock_);
  Expect("the refusal", [this] { return follower_->Status().failures == 1; });
  applier_.Refuse("pv1", absl::OkStatus());
  clock_.Advance(absl::Minutes(4));
  Put(VolumeEntry("pv2"));  // which has the worker look at the clock
  EXPECT_EQ(DoneOnce(1), (Calls{"apply pv2"}));
  clock_.Advance(absl::Minutes(2));
  Put(VolumeEntry("pv3"));
  EXPECT_EQ(DoneOnce(3).size(), 3U);
  ExpectSettled();
}

TEST_F(FollowerTest, StopsAtOnceInTheMidstOfFailures) {
  applier_.Refuse("pv1", absl::UnavailableError("DR is away"));
  Put(VolumeEntry("pv1"));
  Start(absl::Hours(1), 4);
  Expect("attempts", [this] { return applier_.Attempts() >= 2; });
  thread_.request_stop();
  thread_.join();
  EXPECT_EQ(follower_->Status().pending, 1U);
}

}  // namespace
}  // namespace understudy::control
