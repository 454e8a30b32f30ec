#include "agent-primary/rules/object_keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/sim/fake_clock.h"
#include "tests/support/temp_dir.h"

namespace understudy::primary {
namespace {

using model::ObjectKey;
using model::ObjectKind;
using testing::IsEmpty;
using testing::SizeIs;

constexpr ObjectKind kVolume = ObjectKind::kPersistentVolume;

ObjectDeletion Gone(int i) {
  return {{kVolume, "", "pv" + std::to_string(i)}, "u" + std::to_string(i), "{}"};
}

class ObjectKeeperTest : public testing::Test {
 protected:
  ObjectKeeperTest() { Reopen(); }

  void Reopen() {
    keeper_.reset();
    auto opened = ObjectKeeper::Open(
        folder_.File("guard.db"), {.max_delete_fraction = 0.5, .min_objects = 2}, [this] { return cluster_; }, clock_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    keeper_ = *std::move(opened);
  }
  void SetAtDr(int count) {
    std::set<ObjectKey> keys;
    for (int i = 0; i < count; ++i) keys.insert(Gone(i).key);
    keeper_->SetAtDr(kVolume, std::move(keys));
  }
  static std::vector<ObjectDeletion> AllGone(int count) {
    std::vector<ObjectDeletion> all;
    for (int i = 0; i < count; ++i) all.push_back(Gone(i));
    return all;
  }
  std::vector<ObjectDeletion> AdmitMissing(int count, bool list_is_empty = false) {
    auto admitted = keeper_->AdmitMissing(kVolume, AllGone(count), list_is_empty);
    EXPECT_TRUE(admitted.ok()) << admitted.status();
    return admitted.ok() ? *admitted : std::vector<ObjectDeletion>();
  }

  tests::TempDir folder_;
  sim::FakeClock clock_;
  absl::StatusOr<std::string> cluster_ = "c1";
  std::unique_ptr<ObjectKeeper> keeper_;
};

TEST_F(ObjectKeeperTest, WhatAListLacksMayGoOrIsHeldAsAWhole) {
  SetAtDr(10);
  EXPECT_THAT(AdmitMissing(5), SizeIs(5));
  SetAtDr(10);
  EXPECT_THAT(AdmitMissing(6), IsEmpty());
  ASSERT_THAT(keeper_->Reports(), SizeIs(1));
  EXPECT_EQ(keeper_->Reports()[0].kind, "objects:PersistentVolume");
  EXPECT_EQ(keeper_->Reports()[0].gone, 6U);
  EXPECT_EQ(keeper_->Reports()[0].before, 10U);
  EXPECT_TRUE(keeper_->Doubts(kVolume));
  EXPECT_FALSE(keeper_->Doubts(ObjectKind::kPersistentVolumeClaim));
}

TEST_F(ObjectKeeperTest, DeletionsThatAreSeenOneByOneCountTogether) {
  SetAtDr(4);
  EXPECT_EQ(*keeper_->Admit(Gone(0)), true);
  EXPECT_EQ(*keeper_->Admit(Gone(1)), true);
  EXPECT_EQ(*keeper_->Admit(Gone(2)), false);
  EXPECT_EQ(*keeper_->Admit(Gone(2)), false) << "asked again, it counts once";
  EXPECT_EQ(keeper_->Reports()[0].gone, 1U);
  EXPECT_EQ(*keeper_->Admit(Gone(77)), true) << "DR doesn't have it";
}

TEST_F(ObjectKeeperTest, WhatIsHeldIsHeldAfterARestartToo) {
  SetAtDr(4);
  EXPECT_THAT(AdmitMissing(4, true), IsEmpty());
  Reopen();
  ASSERT_THAT(keeper_->Reports(), SizeIs(1));
  EXPECT_EQ(keeper_->Reports()[0].gone, 4U);
  EXPECT_EQ(keeper_->Reports()[0].before, 4U);
  // And so is the account of what there was.
  SetAtDr(2);
  EXPECT_EQ(*keeper_->Admit(Gone(1)), false);
}

TEST_F(ObjectKeeperTest, TimeAloneReleasesNothing) {
  SetAtDr(8);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(*keeper_->Admit(Gone(i)), true);
  EXPECT_EQ(*keeper_->Admit(Gone(4)), false);
  EXPECT_EQ(*keeper_->Admit(Gone(5)), false);
  for (const bool restarted : {false, true}) {
    clock_.Advance(absl::Minutes(62));
    if (restarted) Reopen();
    keeper_->SetAtDr(kVolume, {Gone(4).key, Gone(5).key, Gone(6).key, Gone(7).key});
    const auto admitted = keeper_->AdmitMissing(kVolume, {Gone(4), Gone(5)}, /*list_is_empty=*/false);
    ASSERT_TRUE(admitted.ok()) << admitted.status();
    EXPECT_THAT(*admitted, IsEmpty());
    ASSERT_THAT(keeper_->Reports(), SizeIs(1));
    EXPECT_EQ(keeper_->Reports()[0].before, 8U);
  }
  EXPECT_EQ(*keeper_->Admit(Gone(5)), false);
  ASSERT_TRUE(keeper_->Approve("objects:PersistentVolume", 2).ok());
  EXPECT_EQ(*keeper_->Admit(Gone(6)), true) << "what is left is the new measure";
}

TEST_F(ObjectKeeperTest, ThatAnObjectIsNotAtDrIsBelievedOfItsKindAndForAWhile) {
  EXPECT_FALSE(keeper_->KnowsWhetherAtDr(Gone(0).key));
  SetAtDr(1);
  EXPECT_TRUE(keeper_->KnowsWhetherAtDr(Gone(0).key));
  EXPECT_TRUE(keeper_->KnowsWhetherAtDr(Gone(77).key));
  EXPECT_FALSE(keeper_->KnowsWhetherAtDr({ObjectKind::kPersistentVolumeClaim, "shop", "db"}));
  clock_.Advance(absl::Minutes(2));
  EXPECT_TRUE(keeper_->KnowsWhetherAtDr(Gone(0).key));
  EXPECT_FALSE(keeper_->KnowsWhetherAtDr(Gone(77).key)) << "somebody else may have put it there";
}

TEST_F(ObjectKeeperTest, WhatIsBeingRemovedIsRememberedUntilItIsDone) {
  SetAtDr(4);
  EXPECT_EQ(*keeper_->Admit(Gone(0)), true);
  ASSERT_EQ(keeper_->NoteRemoving(Gone(0)), absl::OkStatus());
  Reopen();
  EXPECT_EQ(keeper_->Approved(kVolume), AllGone(1));
  EXPECT_THAT(AdmitMissing(1, /*list_is_empty=*/true), SizeIs(1)) << "it was admitted before";
  keeper_->NoteRemoved(Gone(0).key);
  Reopen();
  EXPECT_THAT(keeper_->Approved(kVolume), IsEmpty());
}

TEST_F(ObjectKeeperTest, AHoldEndsWhenTheObjectsAreBack) {
  SetAtDr(4);
  EXPECT_THAT(AdmitMissing(4, true), IsEmpty());
  for (int i = 0; i < 3; ++i) keeper_->NoteLive(Gone(i).key, Gone(i).uid);
  EXPECT_EQ(keeper_->Reports()[0].gone, 1U);
  keeper_->NoteLive(Gone(3).key, "another");
  EXPECT_THAT(keeper_->Reports(), IsEmpty());
  Reopen();
  EXPECT_THAT(keeper_->Reports(), IsEmpty());
}

TEST_F(ObjectKeeperTest, ALaterListThatLacksLessEndsTheHold) {
  SetAtDr(10);
  EXPECT_THAT(AdmitMissing(10, true), IsEmpty());
  EXPECT_THAT(AdmitMissing(1), SizeIs(1));
  EXPECT_THAT(keeper_->Reports(), IsEmpty());
}

TEST_F(ObjectKeeperTest, AnApprovalIsForWhatWasShownAndOutlivesARestart) {
  SetAtDr(4);
  EXPECT_THAT(AdmitMissing(3), IsEmpty());
  EXPECT_TRUE(absl::IsFailedPrecondition(keeper_->Approve("objects:PersistentVolume", 2).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(keeper_->Approve("objects:PersistentVolumeClaim", 3).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(keeper_->Approve("objects:Pod", 3).status()));
  const auto approved = keeper_->Approve("objects:PersistentVolume", 3);
  ASSERT_TRUE(approved.ok()) << approved.status();
  EXPECT_EQ(*approved, AllGone(3));
  EXPECT_THAT(keeper_->Reports(), IsEmpty());
  Reopen();
  SetAtDr(4);
  EXPECT_THAT(AdmitMissing(3), SizeIs(3));
  keeper_->NoteRemoved(Gone(0).key);
  Reopen();
  SetAtDr(4);
  EXPECT_THAT(AdmitMissing(3), SizeIs(3)) << "one that isn't approved any more is little";
}

TEST_F(ObjectKeeperTest, AfterAnApprovalWhatIsLeftIsTheNewMeasure) {
  SetAtDr(10);
  EXPECT_THAT(AdmitMissing(6), IsEmpty());
  ASSERT_TRUE(keeper_->Approve("objects:PersistentVolume", 6).ok());
  for (int i = 0; i < 6; ++i) keeper_->NoteRemoved(Gone(i).key);
  EXPECT_EQ(*keeper_->Admit(Gone(6)), true);
  EXPECT_EQ(*keeper_->Admit(Gone(7)), true);
  EXPECT_EQ(*keeper_->Admit(Gone(8)), false);
}

TEST_F(ObjectKeeperTest, TheClusterOfTheFirstSightIsRememberedUntilAnotherIsApproved) {
  EXPECT_EQ(keeper_->CheckCluster(), absl::OkStatus());
  cluster_ = "c2";
  Reopen();
  EXPECT_TRUE(absl::IsFailedPrecondition(keeper_->CheckCluster()));
  ASSERT_THAT(keeper_->Reports(), SizeIs(1));
  EXPECT_EQ(keeper_->Reports()[0].kind, "cluster");
  SetAtDr(4);
  EXPECT_THAT(AdmitMissing(3), IsEmpty());
  EXPECT_TRUE(absl::IsFailedPrecondition(keeper_->Approve("objects:PersistentVolume", 3).status()))
      << "not before the cluster is recognised";
  EXPECT_TRUE(keeper_->Approve("cluster", 0).ok());
  EXPECT_EQ(keeper_->CheckCluster(), absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(keeper_->Approve("cluster", 0).status()));
  Reopen();
  EXPECT_EQ(keeper_->CheckCluster(), absl::OkStatus());
}

TEST_F(ObjectKeeperTest, AClusterThatCannotBeReadIsAskedAgain) {
  cluster_ = absl::UnavailableError("no answer");
  EXPECT_TRUE(absl::IsUnavailable(keeper_->CheckCluster()));
  EXPECT_THAT(keeper_->Reports(), SizeIs(1));
  cluster_ = "c1";
  clock_.Advance(absl::Minutes(1));
  EXPECT_EQ(keeper_->CheckCluster(), absl::OkStatus());
  EXPECT_THAT(keeper_->Reports(), IsEmpty());
}

}  // namespace
}  // namespace understudy::primary
