// A run over memory twins of both clusters and of a pair's agents.
#include "control/sync/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "control/sync/runner.h"
#include "tests/support/memory_sync.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy::control {
namespace {

using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

ObjectKey VolumeKey(const std::string& name) {
  return {ObjectKind::kPersistentVolume, "", name};
}
ObjectKey ClaimKey(const std::string& name, const std::string& of_namespace = "shop") {
  return {ObjectKind::kPersistentVolumeClaim, of_namespace, name};
}
ObjectKey SnapshotKey(const std::string& name) {
  return {ObjectKind::kVolumeSnapshot, "shop", name};
}
ObjectKey ContentKey(const std::string& name) {
  return {ObjectKind::kVolumeSnapshotContent, "", name};
}

class RunTest : public testing::Test {
 protected:
  RunTest() {
    options_.id = "run-1";
    options_.bring.attempts = 2;
    options_.bring.retry_first = absl::Milliseconds(1);
    options_.bring.retry_longest = absl::Milliseconds(1);
  }

  // A claim and the volume that it is bound to, of one name.
  void Make(const std::string& name, const std::string& of_namespace = "shop") {
    primary_.Put(VolumeKey(name), {{"metadata", {{"uid", "v-" + name}}},
                                   {"spec",
                                    {{"claimRef", {{"namespace", of_namespace}, {"name", name}}},
                                     {"nfs", {{"server", "nfs1"}, {"path", "/export/" + name}}}}}});
    primary_.Put(ClaimKey(name, of_namespace),
                 {{"metadata", {{"uid", "c-" + name}}}, {"spec", {{"volumeName", name}}}});
  }
  void MakeSnapshot(const std::string& name) {
    primary_.Put(
        ContentKey("content-" + name),
        {{"metadata", {{"uid", "k-" + name}}},
         {"spec", {{"driver", "nfs.csi.k8s.io"}, {"volumeSnapshotRef", {{"namespace", "shop"}, {"name", name}}}}},
         {"status", {{"snapshotHandle", "nfs1#export#" + name + "#" + name + "#db"}}}});
    primary_.Put(SnapshotKey(name),
                 {{"metadata", {{"uid", "s-" + name}}},
                  {"spec", {{"source", {{"persistentVolumeClaimName", "db"}}}}},
                  {"status", {{"readyToUse", true}, {"boundVolumeSnapshotContentName", "content-" + name}}}});
  }
  void DeleteOnPrimary(const std::string& name) {
    primary_.Remove(ClaimKey(name));
    primary_.Remove(VolumeKey(name));
  }

  Report Run(std::stop_token stop = {}) {
    RunParts parts{.primary = primary_, .dr = dr_, .applier = dr_, .owed = owed_, .pairs = {}};
    parts.direction = direction_;
    for (tests::MemoryPair* const pair : pairs_) parts.pairs.push_back(pair);
    return MakeRun(options_, parts, std::move(stop), [this](const RunProgress& now) { phases_.insert(now.phase); });
  }
  static const ObjectResult& Of(const Report& report, const ObjectKey& key) {
    static const ObjectResult kNone{.key = {}, .outcome = Outcome::kFailed, .reason = "isn't in the report"};
    for (const ObjectResult& object : report.objects) {
      if (object.key == key) return object;
    }
    return kNone;
  }
  static void ExpectOutcome(const Report& report, const ObjectKey& key, Outcome outcome) {
    const ObjectResult& object = Of(report, key);
    EXPECT_EQ(ToString(object.outcome), ToString(outcome)) << ToString(key) << ": " << object.reason;
  }

  RunOptions options_;
  Direction direction_ = Direction::kToDr;
  tests::MemoryCluster primary_;
  tests::MemoryCluster dr_;
  tests::MemoryOwed owed_;
  tests::MemoryPair east_;
  std::vector<tests::MemoryPair*> pairs_ = {&east_};
  std::set<std::string> phases_;
};

TEST_F(RunTest, DataIsSyncedAndBothObjectsAreAtDrAndInTheCatalog) {
  Make("db");
  Make("web", "bank");
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone) << report.error;
  EXPECT_THAT(report.alerts, IsEmpty());
  for (const ObjectKey& key : {VolumeKey("db"), ClaimKey("db"), VolumeKey("web"), ClaimKey("web", "bank")}) {
    ExpectOutcome(report, key, Outcome::kSynced);
    EXPECT_EQ(Of(report, key).sequence, 1U);
    EXPECT_TRUE(east_.memory_catalog().Has(key));
    EXPECT_TRUE(dr_.Has(key));
  }
  EXPECT_EQ(east_.Synced(), (std::set<std::string>{"db", "web"}));
  const auto entry = east_.memory_catalog().Find(VolumeKey("db"));
  EXPECT_EQ(entry->uid, "v-db");
  EXPECT_EQ(entry->replica_path, "/replica/db");
  EXPECT_EQ(entry->server, "nfs1");
  const auto volume = dr_.Get(VolumeKey("db"));
  EXPECT_EQ(volume->at("spec").at("nfs").at("server"), "dr-nfs");
  EXPECT_EQ(volume->at("spec").at("nfs").at("path"), "/replica/db");
  EXPECT_EQ(phases_, (std::set<std::string>{"list", "sync", "clean", "report"}));
}

TEST_F(RunTest, ASecondRunFindsEverythingUnchangedButNewData) {
  Make("db");
  Make("web");
  Run();
  east_.Write("web");
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  ExpectOutcome(report, VolumeKey("db"), Outcome::kUnchanged);
  ExpectOutcome(report, ClaimKey("db"), Outcome::kUnchanged);
  ExpectOutcome(report, VolumeKey("web"), Outcome::kSynced);
  EXPECT_EQ(report.cleaning.state, CleaningState::kNothing);
}

TEST_F(RunTest, WhatWasMadeAnewElsewhereTakesTheNameOver) {
  Make("db");
  Make("web");
  Run();
  const auto move = [this](const char* uid, const char* path) {
    json volume = *primary_.Get(VolumeKey("db"));
    volume["metadata"]["uid"] = uid;
    volume["spec"]["nfs"]["path"] = path;
    primary_.Put(VolumeKey("db"), volume);
  };
  move("v-anew", "/export/elsewhere");
  Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone) << Of(report, VolumeKey("db")).reason;
  EXPECT_EQ(east_.Trashed(), std::set<std::string>{"db"});
  EXPECT_EQ(east_.memory_catalog().Find(VolumeKey("db"))->uid, "v-anew");
  EXPECT_EQ(east_.memory_catalog().Find(VolumeKey("db"))->replica_path, "/replica/elsewhere");
  EXPECT_THAT(*owed_.Owed(), IsEmpty());
  // The same object never has its data elsewhere: whatever that is, nothing goes for it.
  move("v-anew", "/export/third");
  report = Run();
  ExpectOutcome(report, VolumeKey("db"), Outcome::kFailed);
  EXPECT_EQ(east_.memory_catalog().Find(VolumeKey("db"))->replica_path, "/replica/elsewhere");
  ExpectOutcome(report, VolumeKey("web"), Outcome::kUnchanged);
}

TEST_F(RunTest, WhatIsMadeAnewElsewhereWaitsUntilTheEarlierDataIsGone) {
  Make("db");
  Run();
  json volume = *primary_.Get(VolumeKey("db"));
  volume["metadata"]["uid"] = "v-anew";
  volume["spec"]["nfs"]["path"] = "/export/elsewhere";
  primary_.Put(VolumeKey("db"), volume);
  east_.FailRelease(absl::UnavailableError("DR is away"));
  ExpectOutcome(Run(), VolumeKey("db"), Outcome::kFailed);
  EXPECT_THAT(*owed_.Owed(), SizeIs(1));
  east_.FailRelease(absl::OkStatus());
  ExpectOutcome(Run(), VolumeKey("db"), Outcome::kSynced);
  EXPECT_EQ(east_.memory_catalog().Find(VolumeKey("db"))->replica_path, "/replica/elsewhere");
  EXPECT_THAT(*owed_.Owed(), IsEmpty());
}

TEST_F(RunTest, ConfiguredNamespacesAloneAreBroughtAcross) {
  options_.namespaces = {"shop"};
  Make("db");
  Make("web", "bank");
  const Report report = Run();
  EXPECT_THAT(report.objects, SizeIs(2));
  EXPECT_FALSE(dr_.Has(ClaimKey("web", "bank")));
  EXPECT_FALSE(east_.Protects("web"));
}

TEST_F(RunTest, OneBadObjectHoldsUpNoOther) {
  for (const char* const name : {"db", "guarded", "refused", "web"}) Make(name);
  primary_.Put(ClaimKey("lost"), {{"metadata", {{"uid", "c-lost"}}}, {"spec", {{"volumeName", "no-such-volume"}}}});
  east_.FailSync("guarded", absl::FailedPreconditionError("a guard holds it back"));
  dr_.FailApply(VolumeKey("refused"), absl::InvalidArgumentError("no such access mode"));
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kPartial);
  ExpectOutcome(report, ClaimKey("db"), Outcome::kSynced);
  ExpectOutcome(report, ClaimKey("web"), Outcome::kSynced);
  ExpectOutcome(report, ClaimKey("guarded"), Outcome::kFailed);
  EXPECT_EQ(Of(report, VolumeKey("guarded")).reason, "a guard holds it back");
  EXPECT_FALSE(east_.memory_catalog().Has(VolumeKey("guarded"))) << "before its data is across";
  ExpectOutcome(report, VolumeKey("refused"), Outcome::kFailed);
  EXPECT_THAT(Of(report, ClaimKey("refused")).reason, HasSubstr("waits for PersistentVolume refused"));
  EXPECT_FALSE(dr_.Has(ClaimKey("refused")));
  EXPECT_THAT(Of(report, ClaimKey("lost")).reason, HasSubstr("no-such-volume isn't in the primary cluster's list"));
}

TEST_F(RunTest, WhatIsNothingToBeDoneForIsSkippedWithItsReason) {
  primary_.Put(ClaimKey("pending"), {{"metadata", {{"uid", "1"}}}, {"spec", json::object()}});
  Make("going");
  primary_.Put(ClaimKey("going"), {{"metadata", {{"uid", "2"}, {"deletionTimestamp", "2026-01-01T00:00:00Z"}}},
                                   {"spec", {{"volumeName", "going"}}}});
  Make("block");
  primary_.Put(
      VolumeKey("block"),
      {{"metadata", {{"uid", "3"}}},
       {"spec",
        {{"claimRef", {{"namespace", "shop"}, {"name", "block"}}}, {"csi", {{"driver", "rbd.csi.ceph.com"}}}}}});
  Make("elsewhere");
  primary_.Put(VolumeKey("elsewhere"), {{"metadata", {{"uid", "4"}}},
                                        {"spec",
                                         {{"claimRef", {{"namespace", "shop"}, {"name", "elsewhere"}}},
                                          {"nfs", {{"server", "filer"}, {"path", "/x"}}}}}});
  Make("stolen");
  primary_.Put(VolumeKey("stolen"),
               {{"metadata", {{"uid", "5"}}}, {"spec", {{"claimRef", {{"namespace", "bank"}, {"name", "stolen"}}}}}});
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  for (const char* const name : {"pending", "going", "block", "elsewhere", "stolen"}) {
    ExpectOutcome(report, ClaimKey(name), Outcome::kSkipped);
  }
  EXPECT_EQ(Of(report, ClaimKey("pending")).reason, "isn't bound to a PersistentVolume");
  EXPECT_EQ(Of(report, ClaimKey("block")).reason, "isn't on NFS");
  EXPECT_EQ(Of(report, ClaimKey("elsewhere")).reason, "no pair holds filer:/x");
  EXPECT_THAT(dr_.Applied(), IsEmpty());
}

TEST_F(RunTest, WhatWasDeletedDuringItsSyncDoesntComeBack) {
  Make("db");
  Make("anew");
  east_.OnSync([this](const std::string& volume) {
    if (volume == "db") DeleteOnPrimary("db");
    if (volume == "anew") primary_.Put(VolumeKey("anew"), {{"metadata", {{"uid", "another"}}}});
  });
  const Report report = Run();
  ExpectOutcome(report, VolumeKey("db"), Outcome::kSkipped);
  ExpectOutcome(report, ClaimKey("db"), Outcome::kSkipped);
  ExpectOutcome(report, VolumeKey("anew"), Outcome::kSkipped);
  EXPECT_FALSE(east_.memory_catalog().Has(VolumeKey("db")));
  EXPECT_FALSE(east_.memory_catalog().Has(VolumeKey("anew")));
  EXPECT_THAT(dr_.Applied(), IsEmpty());
  EXPECT_FALSE(east_.Protects("db")) << "nothing else would ever give it up";
  EXPECT_THAT(Of(report, VolumeKey("db")).reason, HasSubstr("trash"));
  EXPECT_EQ(east_.Trashed(), std::set<std::string>{"db"});
  EXPECT_TRUE(east_.Protects("anew"));
}

TEST_F(RunTest, WhatWasDeletedDuringItsSyncAndIsAtDrAlreadyIsLeftToTheNextRun) {
  Make("db");
  Make("web");
  Run();
  east_.OnSync([this](const std::string& volume) {
    if (volume == "db") DeleteOnPrimary("db");
  });
  Run();
  EXPECT_THAT(east_.Trashed(), IsEmpty());
  const Report report = Run();
  ExpectOutcome(report, VolumeKey("db"), Outcome::kCleaned);
  EXPECT_EQ(east_.Trashed(), std::set<std::string>{"db"});
}

TEST_F(RunTest, VolumesAreWorkedOnInParallelButNoMoreThanAllowed) {
  options_.parallelism = 3;
  for (int i = 0; i < 10; ++i) Make("v" + std::to_string(i));
  east_.Hold();
  std::optional<Report> report;
  std::jthread running([&] { report = Run(); });
  EXPECT_EQ(tests::WaitFor("three at a time", absl::Seconds(30), [this] { return east_.UnderWay() == 3; }),
            absl::OkStatus());
  east_.LetGo();
  running.join();
  EXPECT_EQ(east_.MostUnderWay(), 3);
  EXPECT_EQ(CountOutcomes(*report).at(Outcome::kSynced), 20U);
}

TEST_F(RunTest, AStopEndsTheRunAndTheReportSaysSo) {
  options_.parallelism = 1;
  for (int i = 0; i < 4; ++i) Make("v" + std::to_string(i));
  east_.Hold();
  std::stop_source stop;
  std::optional<Report> report;
  std::jthread running([&] { report = Run(stop.get_token()); });
  EXPECT_EQ(tests::WaitFor("a sync", absl::Seconds(30), [this] { return east_.UnderWay() == 1; }), absl::OkStatus());
  stop.request_stop();
  running.join();
  EXPECT_THAT(report->error, HasSubstr("stopped"));
  EXPECT_EQ(report->exit_code, ExitCode::kFailed);
  EXPECT_EQ(Of(*report, ClaimKey("v3")).reason, "the run was stopped");
}

TEST_F(RunTest, ThePairThatHasTheVolumeIsAsked) {
  tests::MemoryPair west("west", {"nfs9"});
  tests::MemoryPair any("any", {});
  pairs_ = {&west, &any};
  Make("db");
  const Report report = Run();
  EXPECT_EQ(Of(report, ClaimKey("db")).pair, "any");
  EXPECT_THAT(west.Synced(), IsEmpty());
}

TEST_F(RunTest, ASnapshotIsAppliedOnceItsArchiveIsAtDr) {
  Make("db");
  MakeSnapshot("nightly");
  primary_.Put(SnapshotKey("young"), {{"metadata", {{"uid", "s-young"}}}, {"status", {{"readyToUse", false}}}});
  Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kPartial);
  ExpectOutcome(report, ContentKey("content-nightly"), Outcome::kFailed);
  EXPECT_EQ(Of(report, ContentKey("content-nightly")).reason, "its archive isn't at DR");
  EXPECT_THAT(Of(report, SnapshotKey("nightly")).reason, HasSubstr("waits for VolumeSnapshotContent content-nightly"));
  ExpectOutcome(report, SnapshotKey("young"), Outcome::kSkipped);
  EXPECT_EQ(Of(report, SnapshotKey("young")).reason, "isn't ready to use");
  EXPECT_FALSE(dr_.Has(ContentKey("content-nightly")));
  EXPECT_FALSE(dr_.Has(SnapshotKey("nightly")));
  EXPECT_TRUE(east_.Synced().contains("content-nightly")) << "its folder is replicated as a volume of its own";

  east_.SetArchive("content-nightly", true);
  report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  ExpectOutcome(report, ContentKey("content-nightly"), Outcome::kSynced);
  ExpectOutcome(report, SnapshotKey("nightly"), Outcome::kSynced);
  EXPECT_EQ(dr_.Get(ContentKey("content-nightly"))->at("spec").at("source").at("snapshotHandle"),
            "dr-nfs#replica#nightly#nightly#db");
  EXPECT_EQ(dr_.Get(SnapshotKey("nightly"))->at("spec").at("source").at("volumeSnapshotContentName"),
            "content-nightly");
  const auto entry = east_.memory_catalog().Find(ContentKey("content-nightly"));
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->volume, "content-nightly");
  EXPECT_EQ(entry->replica_path, "/replica/nightly");
}

TEST_F(RunTest, ASnapshotThatIsGoneAtThePrimaryGoesAtDrAndItsArchiveIsInTheTrash) {
  for (const char* const name : {"db", "web", "mail"}) Make(name);
  for (const char* const name : {"nightly", "weekly", "monthly"}) MakeSnapshot(name);
  for (const char* const name : {"nightly", "weekly", "monthly"}) {
    east_.SetArchive(std::string("content-") + name, true);
  }
  ASSERT_EQ(Run().exit_code, ExitCode::kDone);
  // As the run's transformation leaves them at DR.
  primary_.Remove(SnapshotKey("nightly"));
  primary_.Remove(ContentKey("content-nightly"));
  const Report report = Run();
  ExpectOutcome(report, SnapshotKey("nightly"), Outcome::kCleaned);
  ExpectOutcome(report, ContentKey("content-nightly"), Outcome::kCleaned);
  EXPECT_EQ(east_.Trashed(), std::set<std::string>{"content-nightly"});
  EXPECT_TRUE(dr_.Has(SnapshotKey("weekly")));
}

TEST_F(RunTest, ASnapshotOfAnotherDriverIsSkipped) {
  MakeSnapshot("nightly");
  json content = *primary_.Get(ContentKey("content-nightly"));
  content["spec"]["driver"] = "rbd.csi.ceph.com";
  primary_.Put(ContentKey("content-nightly"), content);
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  ExpectOutcome(report, ContentKey("content-nightly"), Outcome::kSkipped);
  ExpectOutcome(report, SnapshotKey("nightly"), Outcome::kSkipped);
  EXPECT_FALSE(east_.Protects("content-nightly"));
}

TEST_F(RunTest, ADryRunShowsAndChangesNothing) {
  Make("known");
  Make("old");
  Run();
  DeleteOnPrimary("old");
  Make("new");
  const size_t applied = dr_.Applied().size();
  options_.bring.dry_run = true;
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  ExpectOutcome(report, ClaimKey("known"), Outcome::kUnchanged);
  ExpectOutcome(report, ClaimKey("new"), Outcome::kWouldSync);
  ExpectOutcome(report, ClaimKey("old"), Outcome::kWouldClean);
  ExpectOutcome(report, VolumeKey("old"), Outcome::kWouldClean);
  EXPECT_EQ(report.cleaning.state, CleaningState::kWould);
  EXPECT_FALSE(east_.Protects("new"));
  EXPECT_EQ(dr_.Applied().size(), applied);
  EXPECT_THAT(dr_.Deleted(), IsEmpty());
  EXPECT_TRUE(east_.memory_catalog().Has(ClaimKey("old")));
}

TEST_F(RunTest, WhatIsOnlyAtDrIsCleanedClaimsFirstAndItsDataGoesToTheTrash) {
  Make("db");
  Make("old");
  Run();
  DeleteOnPrimary("old");
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  EXPECT_THAT(dr_.Deleted(), ElementsAre(ClaimKey("old"), VolumeKey("old")));
  ExpectOutcome(report, ClaimKey("old"), Outcome::kCleaned);
  ExpectOutcome(report, VolumeKey("old"), Outcome::kCleaned);
  EXPECT_THAT(Of(report, VolumeKey("old")).reason, HasSubstr("trash"));
  EXPECT_EQ(east_.Trashed(), std::set<std::string>{"old"});
  EXPECT_FALSE(east_.memory_catalog().Has(VolumeKey("old")));
  EXPECT_TRUE(dr_.Has(ClaimKey("db")));
  EXPECT_EQ(report.cleaning.state, CleaningState::kDone);
}

TEST_F(RunTest, TheReportSaysWhenDataStaysAtDr) {
  Make("db");
  Make("old");
  Run();
  DeleteOnPrimary("old");
  east_.FailRelease(absl::FailedPreconditionError("it was promoted since"));
  const Report report = Run();
  ExpectOutcome(report, VolumeKey("old"), Outcome::kCleaned);
  EXPECT_EQ(Of(report, VolumeKey("old")).reason, "its data stays where it is at DR: it was promoted since");
}

TEST_F(RunTest, ADeletionThatFailsOnceGivesTheDataUpInTheNextRun) {
  Make("db");
  Make("old");
  Run();
  DeleteOnPrimary("old");
  dr_.FailDelete(VolumeKey("old"), absl::InternalError("a pod holds the claim"));
  Report report = Run();
  ExpectOutcome(report, VolumeKey("old"), Outcome::kFailed);
  EXPECT_FALSE(east_.memory_catalog().Has(VolumeKey("old")));
  EXPECT_THAT(east_.Trashed(), IsEmpty());
  dr_.FailDelete(VolumeKey("old"), absl::OkStatus());
  // A run of other namespaces is none of its business.
  Make("ledger", "bank");
  options_.namespaces = {"bank"};
  Run();
  EXPECT_TRUE(dr_.Has(VolumeKey("old")));
  options_.namespaces = {};
  report = Run();
  ExpectOutcome(report, VolumeKey("old"), Outcome::kCleaned);
  EXPECT_THAT(Of(report, VolumeKey("old")).reason, HasSubstr("trash"));
  EXPECT_EQ(east_.Trashed(), std::set<std::string>{"old"});
  EXPECT_FALSE(east_.Protects("old"));
  EXPECT_THAT(*owed_.Owed(), IsEmpty());
}

TEST_F(RunTest, DataThatCouldNotBeGivenUpWithItsObjectIsGivenUpByTheNextRun) {
  Make("db");
  Make("old");
  Run();
  DeleteOnPrimary("old");
  east_.FailRelease(absl::UnavailableError("the agent is away"));
  Report report = Run();
  ExpectOutcome(report, VolumeKey("old"), Outcome::kFailed);
  EXPECT_THAT(Of(report, VolumeKey("old")).reason, HasSubstr("until the next run tries again"));
  EXPECT_FALSE(dr_.Has(VolumeKey("old")));
  east_.FailRelease(absl::OkStatus());
  report = Run();
  ExpectOutcome(report, VolumeKey("old"), Outcome::kCleaned);
  EXPECT_EQ(east_.Trashed(), std::set<std::string>{"old"});
  EXPECT_THAT(*owed_.Owed(), IsEmpty());
  EXPECT_THAT(Run().objects, SizeIs(2)) << "once is enough";
}

TEST_F(RunTest, DataIsNotGivenUpOnceItsNameStandsForAnotherVolume) {
  Make("db");
  Make("old");
  Run();
  DeleteOnPrimary("old");
  east_.FailRelease(absl::UnavailableError("the agent is away"));
  Run();
  east_.FailRelease(absl::OkStatus());
  Make("old");
  const Report report = Run();
  ExpectOutcome(report, VolumeKey("old"), Outcome::kSynced);
  EXPECT_THAT(east_.Trashed(), IsEmpty());
  EXPECT_TRUE(east_.Protects("old"));
  EXPECT_THAT(*owed_.Owed(), IsEmpty());
}

TEST_F(RunTest, AnotherClusterUnderTheKubeconfigDeletesNothingHoweverFewThereAre) {
  Make("db");
  Make("web");
  Report report = Run();
  EXPECT_EQ(report.primary_cluster, "cluster-1");
  options_.stale.known_cluster = report.primary_cluster;
  // The primary was installed anew, and has one claim by now.
  DeleteOnPrimary("db");
  DeleteOnPrimary("web");
  primary_.SetUid("cluster-2");
  Make("fresh");
  for (int i = 0; i < 2; ++i) {
    report = Run();
    EXPECT_EQ(report.exit_code, ExitCode::kRefused);
    EXPECT_THAT(report.alerts, ElementsAre(HasSubstr("another one than before")));
    EXPECT_EQ(report.primary_cluster, "");
    ExpectOutcome(report, ClaimKey("fresh"), i == 0 ? Outcome::kSynced : Outcome::kUnchanged);
    EXPECT_THAT(dr_.Deleted(), IsEmpty());
    EXPECT_THAT(east_.Trashed(), IsEmpty());
  }
  options_.stale.accept_cluster = true;
  report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  EXPECT_EQ(report.primary_cluster, "cluster-2");
  EXPECT_THAT(dr_.Deleted(), SizeIs(4));
}

TEST_F(RunTest, ARecordedRunRemembersWhichClusterItRead) {
  tests::TempDir folder;
  const auto state = SyncState::Open(folder.Path() + "/state");
  ASSERT_TRUE(state.ok()) << state.status();
  const auto lease = (*state)->Lease();
  ASSERT_TRUE(lease.ok()) << lease.status();
  const auto record = [&](const std::string& id) {
    options_.id = id;
    return RunAndRecord(*lease, options_,
                        {{.primary = primary_, .dr = dr_, .applier = dr_, .owed = **state, .pairs = {&east_}}}, **state,
                        {}, {}, [](const RunProgress&) {});
  };
  Make("db");
  Make("web");
  ASSERT_EQ(record("one")->exit_code, ExitCode::kDone);
  EXPECT_EQ(*(*state)->PrimaryCluster(), "cluster-1");
  primary_.SetUid("cluster-2");
  DeleteOnPrimary("web");
  EXPECT_EQ(record("two")->exit_code, ExitCode::kRefused);
  EXPECT_EQ(*(*state)->PrimaryCluster(), "cluster-1");
  EXPECT_THAT(dr_.Deleted(), IsEmpty());
  options_.stale.accept_cluster = true;
  EXPECT_EQ(record("three")->exit_code, ExitCode::kDone);
  EXPECT_EQ(*(*state)->PrimaryCluster(), "cluster-2");
  EXPECT_THAT(dr_.Deleted(), SizeIs(2));
}

TEST_F(RunTest, AClusterThatHasNoneOfDrsObjectsIsNotTakenForTheirPrimary) {
  Make("db");
  Run();
  // As from a state that was lost: no run before says which cluster it was.
  DeleteOnPrimary("db");
  Make("fresh");
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kRefused);
  EXPECT_THAT(report.alerts, ElementsAre(HasSubstr("none of the objects")));
  EXPECT_EQ(report.primary_cluster, "");
  EXPECT_THAT(dr_.Deleted(), IsEmpty());
}

TEST_F(RunTest, AClusterThatDoesNotSayWhichItIsDeletesNothing) {
  Make("db");
  Make("old");
  Run();
  DeleteOnPrimary("old");
  primary_.SetUid(absl::PermissionDeniedError("namespaces: forbidden"));
  const Report report = Run();
  EXPECT_THAT(report.alerts, ElementsAre(HasSubstr("doesn't say which one it is")));
  EXPECT_THAT(dr_.Deleted(), IsEmpty());
}

TEST_F(RunTest, OnlyWhatUnderstudyMadeIsCleaned) {
  Make("db");
  Run();
  dr_.Put(ClaimKey("theirs"), {{"metadata", {{"uid", "x"}}}, {"spec", json::object()}});
  dr_.Put(ClaimKey("half"), {{"metadata", {{"labels", {{"app.kubernetes.io/managed-by", "understudy"}}}}}});
  options_.stale.max_fraction = 1;
  const Report report = Run();
  EXPECT_THAT(dr_.Deleted(), IsEmpty());
  EXPECT_EQ(report.cleaning.at_dr, 2U);
}

TEST_F(RunTest, NothingIsCleanedAfterAFailedListWhateverElseSucceeds) {
  options_.namespaces = {"bank", "shop"};
  Make("db");
  Make("old");
  Make("web", "bank");
  Run();
  DeleteOnPrimary("old");
  primary_.FailList(ObjectKind::kPersistentVolumeClaim, "bank", absl::UnavailableError("HTTP 500"));
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kPartial);
  ExpectOutcome(report, ClaimKey("db"), Outcome::kUnchanged);
  EXPECT_THAT(dr_.Deleted(), IsEmpty());
  EXPECT_EQ(report.cleaning.state, CleaningState::kHeld);
  EXPECT_THAT(report.alerts, ElementsAre(HasSubstr("namespace bank"), HasSubstr("nothing was deleted at DR")));
}

TEST_F(RunTest, NothingIsCleanedWhenTheDrClusterCantBeListed) {
  Make("db");
  Run();
  dr_.FailList(ObjectKind::kPersistentVolume, "", absl::UnavailableError("HTTP 500"));
  const Report report = Run();
  EXPECT_EQ(report.cleaning.state, CleaningState::kHeld);
  EXPECT_EQ(report.exit_code, ExitCode::kPartial);
}

TEST_F(RunTest, AnUnreachablePrimaryClusterIsSaidByTheExitCode) {
  for (const ObjectKind kind : {ObjectKind::kPersistentVolume, ObjectKind::kPersistentVolumeClaim,
                                ObjectKind::kVolumeSnapshot, ObjectKind::kVolumeSnapshotContent}) {
    primary_.FailList(kind, "", absl::UnavailableError("connection refused"));
  }
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kUnreachable);
  EXPECT_EQ(ResultOf(report), "unreachable");
}

TEST_F(RunTest, AListThatLeavesSomethingOutDeletesNothing) {
  Make("db");
  Make("web");
  Run();
  primary_.Hide(ClaimKey("web"));
  primary_.Hide(VolumeKey("web"));
  options_.stale.max_fraction = 1;
  const Report report = Run();
  EXPECT_THAT(dr_.Deleted(), IsEmpty());
  EXPECT_EQ(report.exit_code, ExitCode::kRefused);
  EXPECT_THAT(report.alerts, ElementsAre(HasSubstr("although the list doesn't have it")));
  EXPECT_TRUE(east_.memory_catalog().Has(ClaimKey("web")));
}

// As after a failover, while somebody cleans up at the old primary site.
TEST_F(RunTest, ObjectsOfAPromotedVolumeAreSkippedUntilItIsDemoted) {
  for (const char* const name : {"db", "web", "mail"}) Make(name);
  Run();
  east_.SetLive(std::map<std::string, std::string>{{"web", "active"}, {"mail", "demoting"}});
  DeleteOnPrimary("web");
  options_.stale.max_fraction = 1;
  Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  for (const std::string name : {"web", "mail"}) {
    for (const ObjectKey& key : {VolumeKey(name), ClaimKey(name)}) {
      ExpectOutcome(report, key, Outcome::kSkipped);
      EXPECT_EQ(Of(report, key).volume, name);
      EXPECT_THAT(Of(report, key).reason, HasSubstr("drctl volumes demote " + name));
      EXPECT_TRUE(dr_.Has(key) && east_.memory_catalog().Has(key)) << ToString(key);
    }
  }
  EXPECT_THAT(east_.Trashed(), IsEmpty());
  ExpectOutcome(report, ClaimKey("db"), Outcome::kUnchanged);

  east_.SetLive(std::map<std::string, std::string>{});
  report = Run();
  ExpectOutcome(report, ClaimKey("web"), Outcome::kCleaned);
  ExpectOutcome(report, ClaimKey("mail"), Outcome::kUnchanged);
  EXPECT_FALSE(dr_.Has(VolumeKey("web")) || dr_.Has(ClaimKey("web")));
  EXPECT_EQ(east_.Trashed(), (std::set<std::string>{"web"}));
}

// As before any failover, while an agent that only matters after one is away.
TEST_F(RunTest, WhatDrItselfSaysIsEnoughForWhatItHasAReplicaOf) {
  for (const char* const name : {"db", "web", "old", "lost"}) Make(name);
  Run();
  east_.SetLive(std::map<std::string, std::string>{{"web", "active"}});
  east_.SetOthers(absl::UnavailableError("the other direction's agent is away"));
  ASSERT_EQ(east_.Release("lost", {}), absl::OkStatus());  // DR has no replica of it any more
  for (const char* const name : {"web", "old", "lost"}) DeleteOnPrimary(name);
  options_.stale.max_fraction = 1;
  Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  EXPECT_THAT(report.alerts, IsEmpty());
  ExpectOutcome(report, ClaimKey("old"), Outcome::kCleaned);
  ExpectOutcome(report, ClaimKey("web"), Outcome::kSkipped);
  EXPECT_THAT(Of(report, ClaimKey("web")).reason, HasSubstr("is active there"));
  ExpectOutcome(report, ClaimKey("lost"), Outcome::kSkipped);
  EXPECT_THAT(Of(report, ClaimKey("lost")).reason, HasSubstr("direction's agent is away"));
  EXPECT_TRUE(dr_.Has(ClaimKey("lost")) && dr_.Has(VolumeKey("lost")));

  east_.SetOthers(absl::OkStatus());
  report = Run();
  ExpectOutcome(report, ClaimKey("lost"), Outcome::kCleaned);
}

TEST_F(RunTest, NewVolumesAreBroughtWhileTheOtherDirectionsAgentIsAway) {
  east_.SetOthers(absl::UnavailableError("the other direction's agent is away"));
  Make("db");
  const Report report = Run();
  ExpectOutcome(report, ClaimKey("db"), Outcome::kSynced);
  EXPECT_THAT(report.alerts, IsEmpty());
}

TEST_F(RunTest, ARunToThePrimaryAlertsWhenItIsntKnownWhatGoesThere) {
  direction_ = Direction::kToPrimary;
  east_.SetLive(absl::UnavailableError("the primary's understudy-dr is away"));
  Report report = Run();  // DR says that nothing was turned round
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  EXPECT_THAT(report.alerts, IsEmpty());
  east_.SetCarried(absl::UnavailableError("the primary's understudy-dr is away"));
  report = Run();
  EXPECT_THAT(report.alerts, ElementsAre(HasSubstr("which volumes go from DR to the primary: pair east: the")));
}

// Promoted in the midst of the run: DR's catalog says so.
TEST_F(RunTest, WhatTheCatalogHoldsBackIsSkippedAndNothingIsOwed) {
  for (const char* const name : {"db", "web"}) Make(name);
  Run();
  DeleteOnPrimary("web");
  for (const char* const name : {"db", "web"}) east_.memory_catalog().SetLive(name, true);
  const json labels = {{"metadata", {{"uid", "c-db"}, {"labels", {{"a", "b"}}}}}, {"spec", {{"volumeName", "db"}}}};
  primary_.Put(ClaimKey("db"), labels);
  options_.stale.max_fraction = 1;
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  for (const ObjectKey& key : {VolumeKey("web"), ClaimKey("web"), VolumeKey("db"), ClaimKey("db")}) {
    ExpectOutcome(report, key, Outcome::kSkipped);
    const char* const why = key == ClaimKey("db") ? "waits for PersistentVolume db" : "held back while";
    EXPECT_THAT(Of(report, key).reason, HasSubstr(why)) << ToString(key);
    EXPECT_TRUE(dr_.Has(key) && east_.memory_catalog().Has(key)) << ToString(key);
  }
  EXPECT_FALSE(dr_.Get(ClaimKey("db"))->at("metadata").contains("labels") &&
               dr_.Get(ClaimKey("db"))->at("metadata").at("labels").contains("a"));
  EXPECT_THAT(dr_.Deleted(), IsEmpty());
  EXPECT_THAT(*owed_.Owed(), IsEmpty());
}

TEST_F(RunTest, NothingIsCleanedWhenItCantBeLookedForAgain) {
  Make("db");
  Make("old");
  Run();
  DeleteOnPrimary("old");
  primary_.FailGet(absl::UnavailableError("HTTP 503"));
  const Report report = Run();
  EXPECT_THAT(dr_.Deleted(), IsEmpty());
  EXPECT_EQ(report.cleaning.state, CleaningState::kHeld);
}

TEST_F(RunTest, ACatalogThatCantBeAskedKeepsItsObjectsAtDr) {
  Make("db");
  Make("old");
  Run();
  DeleteOnPrimary("old");
  east_.memory_catalog().SetError(absl::UnavailableError("DR's agent is away"));
  const Report report = Run();
  EXPECT_THAT(dr_.Deleted(), IsEmpty()) << "what follows the catalog would make it again";
  ExpectOutcome(report, ClaimKey("old"), Outcome::kFailed);
  EXPECT_EQ(report.cleaning.state, CleaningState::kPartly);
  EXPECT_EQ(report.exit_code, ExitCode::kUnreachable);
}

}  // namespace
}  // namespace understudy::control
