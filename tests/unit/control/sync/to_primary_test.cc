// A run to the primary, after a failover that was turned round: over memory twins, as run_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/apply/transform.h"
#include "control/sync/run.h"
#include "control/sync/runner.h"
#include "tests/support/memory_sync.h"
#include "tests/support/temp_dir.h"

namespace understudy::control {
namespace {

using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

ObjectKey VolumeKey(const std::string& name) {
  return {ObjectKind::kPersistentVolume, "", name};
}
ObjectKey ClaimKey(const std::string& name) {
  return {ObjectKind::kPersistentVolumeClaim, "shop", name};
}

class ToPrimaryTest : public testing::Test {
 protected:
  ToPrimaryTest() {
    options_.id = "run-1";
    options_.bring.attempts = 1;
  }

  // At DR, by hand: a claim and the volume that it is bound to, of one name.
  void Make(const std::string& name) {
    dr_.Put(VolumeKey(name), {{"metadata", {{"uid", "v-" + name}}},
                              {"spec",
                               {{"claimRef", {{"namespace", "shop"}, {"name", name}}},
                                {"nfs", {{"server", "nfs1"}, {"path", "/export/" + name}}}}}});
    dr_.Put(ClaimKey(name), {{"metadata", {{"uid", "c-" + name}}}, {"spec", {{"volumeName", name}}}});
  }
  // The same, as Understudy made it of the primary's.
  void MakeCopy(const std::string& name) {
    Make(name);
    for (const ObjectKey& key : {VolumeKey(name), ClaimKey(name)}) {
      json object = *dr_.Get(key);
      object["metadata"]["labels"][kManagedByLabel] = kManagedByValue;
      object["metadata"]["annotations"][kSourceUidAnnotation] = "of-the-primary-" + name;
      dr_.Put(key, object);
    }
  }

  RunParts Parts() {
    RunParts parts{.primary = dr_,
                   .dr = primary_,
                   .applier = primary_,
                   .owed = owed_,
                   .pairs = {},
                   .direction = Direction::kToPrimary};
    for (tests::MemoryPair* const pair : pairs_) parts.pairs.push_back(pair);
    return parts;
  }
  Report Run() {
    return MakeRun(options_, Parts(), {}, [](const RunProgress&) {});
  }
  // "outcome: reason"; empty: it isn't in the report.
  static std::string Of(const Report& report, const ObjectKey& key) {
    for (const ObjectResult& object : report.objects) {
      if (object.key == key) return std::string(ToString(object.outcome)) + ": " + object.reason;
    }
    return "";
  }

  RunOptions options_;
  tests::MemoryCluster primary_;
  tests::MemoryCluster dr_;
  tests::MemoryOwed owed_;
  tests::MemoryPair east_;
  std::vector<tests::MemoryPair*> pairs_ = {&east_};
};

TEST_F(ToPrimaryTest, WhatIsCarriedAndWhatWasMadeBesideItComesToThePrimaryAndNothingElse) {
  MakeCopy("turned");
  Make("new");
  MakeCopy("replica");
  MakeCopy("left-over");  // no pair knows it any more
  east_.SetCarried(std::set<std::string>{"turned"});
  east_.SetLive(std::map<std::string, std::string>{{"replica", "live at the primary"}});
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone) << report.error;
  EXPECT_EQ(Of(report, ClaimKey("turned")), "synced: ");
  EXPECT_EQ(Of(report, ClaimKey("new")), "synced: ");
  EXPECT_EQ(Of(report, ClaimKey("replica")), "");
  EXPECT_EQ(Of(report, ClaimKey("left-over")), "");
  EXPECT_TRUE(primary_.Has(VolumeKey("new")));
  EXPECT_FALSE(east_.Protects("left-over"));
  EXPECT_THAT(dr_.Applied(), IsEmpty());
  EXPECT_EQ(report.lists.front().cluster, "dr");
}

TEST_F(ToPrimaryTest, WithoutAnyThatGoesNothingIsListed) {
  Make("db");
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone);
  EXPECT_THAT(report.alerts, IsEmpty());
  EXPECT_THAT(report.lists, IsEmpty());
}

// The only pair can't say; and one of two.
TEST_F(ToPrimaryTest, APairThatCannotSayWhatItCarriesFailsTheRunIfAnythingMayBeThere) {
  Make("db");
  Make("new");
  east_.SetCarried(absl::UnavailableError("the primary's agent is away"));
  Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kUnreachable);
  EXPECT_THAT(report.error, HasSubstr("the primary's agent is away"));

  tests::MemoryPair west("west", {"nfs1"});
  west.SetCarried(std::set<std::string>{"db"});
  pairs_ = {&east_, &west};
  report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kPartial);
  EXPECT_THAT(report.error, HasSubstr("pair east"));
  EXPECT_EQ(Of(report, ClaimKey("new")), "") << "it may be east's, which can't say";
}

TEST_F(ToPrimaryTest, APairThatCannotSayWhatItCarriesAndHoldsNothingHoldsUpNothing) {
  Make("db");
  tests::MemoryPair west("west", {"nfs9"});
  west.SetCarried(absl::UnavailableError("it is away"));
  east_.SetCarried(std::set<std::string>{"db"});
  pairs_ = {&east_, &west};
  const Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone) << report.error;
  EXPECT_THAT(report.alerts, ElementsAre(HasSubstr("no claim has its data there")));
  EXPECT_EQ(Of(report, ClaimKey("db")), "synced: ");
}

// It came home once and was deleted there: its folder is in DR's trash, its objects at DR are DR's own.
TEST_F(ToPrimaryTest, AClaimWhoseFolderIsGoneIsSkippedUnlessItIsCarried) {
  for (const char* const name : {"db", "carried", "came-home"}) Make(name);
  east_.SetCarried(std::set<std::string>{"db", "carried"});
  east_.LoseFolder("came-home");
  Report report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kDone) << report.error;
  EXPECT_THAT(Of(report, ClaimKey("came-home")), HasSubstr("skipped: its data isn't at DR"));
  east_.LoseFolder("carried");
  report = Run();
  EXPECT_EQ(report.exit_code, ExitCode::kPartial);
  EXPECT_THAT(Of(report, ClaimKey("carried")), HasSubstr("failed"));
}

TEST_F(ToPrimaryTest, OfSnapshotsTheirArchivesDecide) {
  Make("db");
  const auto snapshot = [this](const std::string& name) {
    dr_.Put({ObjectKind::kVolumeSnapshot, "shop", name},
            {{"metadata", {{"uid", "s-" + name}}}, {"status", {{"boundVolumeSnapshotContentName", "k-" + name}}}});
  };
  for (const char* const name : {"at-dr", "of-the-primary"}) snapshot(name);
  LiveVolumes live;
  live.direction = Direction::kToPrimary;
  live.carried = {{"east", "db"}};
  live.states = {{{"east", "k-of-the-primary"}, "live at the primary"}};
  const Listing listing = ReadListing(dr_, "dr", {}, {});
  EXPECT_THAT(TasksToPrimary(listing, live),
              ElementsAre(ClaimKey("db"), ObjectKey{ObjectKind::kVolumeSnapshot, "shop", "at-dr"}));
}

TEST_F(ToPrimaryTest, TheTextsNameTheSitesAsTheyAre) {
  Make("db");
  Make("old");
  east_.SetCarried(std::set<std::string>{"db", "old"});
  ASSERT_EQ(Run().exit_code, ExitCode::kDone);
  dr_.Remove(ClaimKey("db"));
  dr_.Remove(ClaimKey("old"));
  Report report = Run();
  EXPECT_THAT(report.alerts, ElementsAre(HasSubstr("nothing was deleted at the primary: the DR cluster lists no "
                                                   "PersistentVolumeClaim, and the primary has 2 of them: delete them "
                                                   "at the primary by hand")));
  Make("db");
  dr_.Remove(VolumeKey("old"));
  report = Run();
  EXPECT_THAT(Of(report, VolumeKey("old")), HasSubstr("its data is in the primary's trash"));
}

TEST_F(ToPrimaryTest, AnAcceptedPrimaryClusterIsNoWordAboutTheDrCluster) {
  Make("db");
  Make("web");
  east_.SetCarried(std::set<std::string>{"db", "web"});
  ASSERT_EQ(Run().exit_code, ExitCode::kDone);
  // The kubeconfig of DR leads to another cluster.
  for (const char* const name : {"db", "web"}) {
    dr_.Remove(ClaimKey(name));
    dr_.Remove(VolumeKey(name));
  }
  Make("of-another");
  tests::TempDir folder;
  const auto state = SyncState::Open(folder.Path() + "/state");
  ASSERT_TRUE(state.ok()) << state.status();
  const auto lease = (*state)->Lease();
  ASSERT_TRUE(lease.ok()) << lease.status();
  options_.stale.accept_cluster = true;
  const auto report = RunAndRecord(*lease, options_, {Parts()}, **state, {}, {}, [](const RunProgress&) {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->exit_code, ExitCode::kRefused);
  EXPECT_THAT(report->alerts, ElementsAre(HasSubstr("the DR cluster has none of the objects")));
  EXPECT_THAT(primary_.Deleted(), IsEmpty());
}

// What is at the primary is the primary's own, so that no cleaning goes for it.
TEST_F(ToPrimaryTest, WhatWasDeletedAtDrLeavesTheCatalogThatAFailbackGoesBy) {
  const std::set<std::string> all = {"db", "deleted", "promoted", "hidden"};
  for (const std::string& name : all) Make(name);
  east_.SetCarried(all);
  ASSERT_EQ(Run().exit_code, ExitCode::kDone);
  for (const char* const name : {"deleted", "promoted", "hidden"}) {
    for (const ObjectKey& key : {ClaimKey(name), VolumeKey(name)}) primary_.Remove(key);
    if (name == std::string("hidden")) continue;
    dr_.Remove(ClaimKey(name));
    dr_.Remove(VolumeKey(name));
  }
  dr_.Hide(ClaimKey("hidden"));
  // It was released at DR, and the primary's copy is the live one.
  east_.SetCarried(std::set<std::string>{"db", "deleted", "hidden"});
  east_.SetLive(std::map<std::string, std::string>{{"promoted", "active"}});
  options_.stale.max_fraction = 1;
  options_.bring.dry_run = true;
  Run();
  EXPECT_TRUE(east_.memory_catalog().Has(ClaimKey("deleted")));
  options_.bring.dry_run = false;
  const Report report = Run();
  EXPECT_THAT(report.alerts, Not(Contains(HasSubstr("entr"))));
  EXPECT_FALSE(east_.memory_catalog().Has(ClaimKey("deleted")));
  EXPECT_FALSE(east_.memory_catalog().Has(VolumeKey("deleted")));
  EXPECT_TRUE(east_.memory_catalog().Has(ClaimKey("promoted"))) << "DR has no say over it";
  EXPECT_TRUE(east_.memory_catalog().Has(ClaimKey("hidden"))) << "it was looked for once more";
  EXPECT_TRUE(east_.memory_catalog().Has(ClaimKey("db")));
}

TEST_F(ToPrimaryTest, NoMoreEntriesLeaveTheCatalogThanCleaningMightDelete) {
  for (int i = 0; i < 8; ++i) Make("v" + std::to_string(i));
  std::set<std::string> carried;
  for (int i = 0; i < 8; ++i) carried.insert("v" + std::to_string(i));
  east_.SetCarried(carried);
  ASSERT_EQ(Run().exit_code, ExitCode::kDone);
  for (int i = 1; i < 8; ++i) {
    for (const ObjectKey& key : {ClaimKey("v" + std::to_string(i)), VolumeKey("v" + std::to_string(i))}) {
      dr_.Remove(key);
      primary_.Remove(key);
    }
  }
  EXPECT_THAT(Run().alerts, ElementsAre(HasSubstr("14 of 16 objects of the catalog at the primary")));
  EXPECT_TRUE(east_.memory_catalog().Has(ClaimKey("v1")));
}

Report ReportOf(std::vector<ObjectResult> objects, Cleaning cleaning = {}) {
  Report report;
  report.objects = std::move(objects);
  report.cleaning = std::move(cleaning);
  return report;
}

ObjectResult Result(const std::string& name, Outcome outcome) {
  return {.key = ClaimKey(name), .outcome = outcome};
}

TEST(MergeTest, AnObjectThatOneOfTheTwoSkippedIsTheOthers) {
  Report report = ReportOf({Result("a", Outcome::kUnchanged), Result("b", Outcome::kSkipped),
                            Result("c", Outcome::kSkipped), Result("d", Outcome::kSkipped)});
  Merge(ReportOf({Result("a", Outcome::kSkipped), Result("b", Outcome::kSynced), Result("c", Outcome::kSkipped)}),
        report);
  std::vector<std::string> merged;
  for (const ObjectResult& object : report.objects) {
    merged.push_back(object.key.name + " " + std::string(ToString(object.outcome)) +
                     (object.to_primary ? " to-primary" : ""));
  }
  EXPECT_THAT(merged, ElementsAre("a unchanged", "b synced to-primary", "c skipped to-primary", "d skipped"));
}

TEST(MergeTest, OfTwoCleaningsTheWorseOneIsTold) {
  using enum CleaningState;
  const struct {
    CleaningState one;
    CleaningState other;
    CleaningState merged;
  } cases[] = {{kPartly, kDone, kPartly}, {kDone, kPartly, kPartly},      {kHeld, kPartly, kHeld},
               {kPartly, kHeld, kHeld},   {kNothing, kDone, kDone},       {kDone, kNothing, kDone},
               {kOff, kOff, kOff},        {kNothing, kNothing, kNothing}, {kWould, kNothing, kWould}};
  for (const auto& each : cases) {
    Report report = ReportOf({}, {.state = each.one, .reason = "one", .stale = 1});
    Merge(ReportOf({}, {.state = each.other, .reason = "other", .stale = 2}), report);
    EXPECT_EQ(ToString(report.cleaning.state), ToString(each.merged));
    EXPECT_EQ(report.cleaning.reason, each.one == each.merged ? "one" : "other");
    EXPECT_EQ(report.cleaning.stale, 3U);
  }
}

TEST(MergeTest, AnErrorOfEitherIsTheRunsAndSoIsItsExitCode) {
  Report report;
  Report other;
  other.exit_code = ExitCode::kUnreachable;
  other.error = "nobody answers";
  other.alerts = {"look"};
  Merge(std::move(other), report);
  EXPECT_EQ(report.error, "nobody answers");
  EXPECT_EQ(report.exit_code, ExitCode::kUnreachable);
  EXPECT_THAT(report.alerts, ElementsAre("from DR to the primary: look"));
}

}  // namespace
}  // namespace understudy::control
