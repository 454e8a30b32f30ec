// The state machine of a replica, and who may write to it in which state.
#include "agent-dr/commit/state_change.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/wire/status_fence.h"

namespace understudy::dr {
namespace {

using model::VolumeState;
using ::testing::HasSubstr;

model::ReplicaState In(VolumeState state) {
  model::ReplicaState replica;
  replica.volume = "web";
  replica.epoch = 4;
  replica.sequence = replica.published_sequence = 7;
  replica.commit_id = "c";
  replica.complete = true;
  replica.state = state;
  return replica;
}

TEST(StateChangeTest, APromotionRaisesTheEpochOnce) {
  const StateChange promoting = BeginPromotion(In(VolumeState::kStandby), false, 9);
  ASSERT_TRUE(promoting.ok() && promoting->has_value());
  EXPECT_EQ((*promoting)->state, VolumeState::kPromoting);
  EXPECT_EQ((*promoting)->epoch, 5u);
  EXPECT_EQ((*promoting)->state_since_nanoseconds, 9);
  const StateChange active = FinishPromotion(**promoting, 10);
  ASSERT_TRUE(active.ok() && active->has_value());
  EXPECT_EQ((*active)->state, VolumeState::kActive);
  EXPECT_EQ((*active)->epoch, 5u);
  EXPECT_EQ((*active)->sequence, 7u);
  EXPECT_TRUE((*active)->hooks_due);
}

TEST(StateChangeTest, WhatIsDoneAlreadyIsFine) {
  EXPECT_FALSE(BeginPromotion(In(VolumeState::kPromoting), false, 9).value().has_value());
  EXPECT_FALSE(BeginPromotion(In(VolumeState::kActive), false, 9).value().has_value());
  EXPECT_FALSE(FinishPromotion(In(VolumeState::kActive), 9).value().has_value());
  EXPECT_FALSE(BeginDemotion(In(VolumeState::kDemoting), 9).value().has_value());
  EXPECT_FALSE(BeginDemotion(In(VolumeState::kStandby), 9).value().has_value());
  EXPECT_FALSE(FinishDemotion(In(VolumeState::kStandby), 9).value().has_value());
}

TEST(StateChangeTest, NoStepIsLeftOut) {
  const auto refused = [](const StateChange& change) { return absl::IsFailedPrecondition(change.status()); };
  EXPECT_TRUE(refused(BeginPromotion(In(VolumeState::kDemoting), false, 9)));
  EXPECT_TRUE(refused(FinishPromotion(In(VolumeState::kStandby), 9)));
  EXPECT_TRUE(refused(FinishPromotion(In(VolumeState::kDemoting), 9)));
  EXPECT_TRUE(refused(FinishDemotion(In(VolumeState::kActive), 9)));
  EXPECT_TRUE(refused(FinishDemotion(In(VolumeState::kPromoting), 9)));
  EXPECT_EQ((*BeginDemotion(In(VolumeState::kPromoting), 9))->state, VolumeState::kDemoting) << "it is called off";
}

TEST(StateChangeTest, TheMidstOfACaptureIsPromotedOnlyWhenThatIsAskedFor) {
  model::ReplicaState midst = In(VolumeState::kStandby);
  midst.midst_of_capture = true;
  const absl::Status nothing_kept = BeginPromotion(midst, false, 9).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(nothing_kept)) << nothing_kept;
  EXPECT_THAT(std::string(nothing_kept.message()), HasSubstr("no earlier state is kept"));
  midst.newest_whole = {5, 1'750'000'000'000'000'000};
  const absl::Status refused = BeginPromotion(midst, false, 9).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("`drctl points rewind web 5` leads to the newest state that it had, of 2025-06-15T15:06:40"));
  EXPECT_FALSE((*BeginPromotion(midst, true, 9))->complete);
}

TEST(StateChangeTest, APartOfAVolumeIsPromotedOnlyWhenThatIsAskedFor) {
  model::ReplicaState part = In(VolumeState::kStandby);
  part.complete = false;
  EXPECT_TRUE(absl::IsFailedPrecondition(BeginPromotion(part, false, 9).status()));
  EXPECT_TRUE(BeginPromotion(part, true, 9).ok());
}

TEST(StateChangeTest, ADemotedReplicaIsAStateThatNoPrimaryCanKnow) {
  const StateChange demoted = FinishDemotion(In(VolumeState::kDemoting), 9);
  ASSERT_TRUE(demoted.ok() && demoted->has_value());
  EXPECT_EQ((*demoted)->state, VolumeState::kStandby);
  EXPECT_EQ((*demoted)->sequence, 9u) << "8 is the commit that the primary may wait for";
  EXPECT_EQ((*demoted)->published_sequence, 9u);
  EXPECT_EQ((*demoted)->commit_id, "");
  EXPECT_FALSE((*demoted)->complete);
  EXPECT_TRUE((*demoted)->demoted_whole);
  EXPECT_EQ((*demoted)->epoch, 4u);
  EXPECT_TRUE((*BeginPromotion(**demoted, false, 9))->complete);
}

TEST(StateChangeTest, AnAdoptionIsForALaterEpochAndKnowsItsPrimary) {
  const auto refused = [](const StateChange& change) { return absl::IsFailedPrecondition(change.status()); };
  for (const VolumeState state : {VolumeState::kActive, VolumeState::kPromoting}) {
    EXPECT_TRUE(refused(BeginAdoption(In(state), 3, 9)));
    EXPECT_TRUE(refused(BeginAdoption(In(state), 4, 9))) << "itself the live copy";
    EXPECT_TRUE(BeginAdoption(In(state), 5, 9).ok());
  }
  EXPECT_TRUE(refused(BeginAdoption(In(VolumeState::kStandby), 5, 9)));
  EXPECT_TRUE(refused(BeginAdoption(In(VolumeState::kDemoting), 5, 9))) << "somebody's demotion";
  const StateChange begun = BeginAdoption(In(VolumeState::kActive), 6, 9);
  ASSERT_TRUE(begun.ok() && begun->has_value());
  EXPECT_EQ((*begun)->state, VolumeState::kDemoting);
  EXPECT_EQ((*begun)->epoch, 6u);
  EXPECT_FALSE(BeginAdoption(**begun, 6, 9).value().has_value()) << "goes on";
  const StateChange adopted = FinishDemotion(**begun, 10);
  EXPECT_FALSE((*adopted)->awaits_primary);
  EXPECT_FALSE((*adopted)->demoted_whole) << "what was here isn't what the live copy is";
  EXPECT_EQ((*adopted)->sequence, 9u);
  EXPECT_EQ(wire::FenceOf(CheckPrimary(**adopted, 5)), 6u);
  EXPECT_FALSE(BeginAdoption(**adopted, 6, 9).value().has_value()) << "done";
  EXPECT_TRUE(refused(BeginAdoption(**adopted, 7, 9)));
  // Promoted and demoted by hand after that, it is as before its adoption.
  model::ReplicaState later = **adopted;
  later.epoch = 7;
  later.state = VolumeState::kDemoting;
  EXPECT_TRUE((*FinishDemotion(later, 11))->awaits_primary);
}

TEST(StateChangeTest, WhatWasLetGoIsOnlyAdopted) {
  const StateChange let_go = LetGo(In(VolumeState::kActive), 4);
  ASSERT_TRUE(let_go.ok() && let_go->has_value());
  EXPECT_TRUE((*let_go)->reprotected);
  EXPECT_EQ((*let_go)->state, VolumeState::kActive);
  EXPECT_FALSE(LetGo(**let_go, 4).value().has_value());
  EXPECT_TRUE(absl::IsFailedPrecondition(BeginDemotion(**let_go, 9).status()));
  EXPECT_FALSE((*BeginAdoption(**let_go, 5, 9))->reprotected);
  for (const VolumeState state : {VolumeState::kStandby, VolumeState::kPromoting, VolumeState::kDemoting}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(LetGo(In(state), 4).status()));
  }
}

TEST(CheckPrimaryTest, OnlyAStandbyIsReplicatedToAndByItsOwnEpochAlone) {
  EXPECT_TRUE(CheckPrimary(In(VolumeState::kStandby), 4).ok());
  EXPECT_TRUE(CheckPrimary(In(VolumeState::kStandby), 5).ok());
  EXPECT_TRUE(CheckPrimary(In(VolumeState::kStandby), 0).ok()) << "one that knows nothing of the volume compares";
  EXPECT_EQ(wire::FenceOf(CheckPrimary(In(VolumeState::kStandby), 3)), 4u);
  for (const VolumeState state : {VolumeState::kPromoting, VolumeState::kActive, VolumeState::kDemoting}) {
    for (const model::Epoch epoch : {0, 3, 4, 5}) {
      const absl::Status refused = CheckPrimary(In(state), epoch);
      EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
      EXPECT_EQ(wire::FenceOf(refused), 4u);
      EXPECT_THAT(std::string(refused.message()), HasSubstr("drctl volumes demote web"));
    }
  }
}

TEST(CheckPrimaryTest, AfterADemotionAnyPrimaryMayCompareAndOneThatCommitsKnowsTheEpoch) {
  model::ReplicaState demoted = In(VolumeState::kStandby);
  demoted.awaits_primary = true;
  EXPECT_TRUE(CheckPrimary(demoted, 1).ok());
  EXPECT_EQ(wire::FenceOf(CheckMessage(demoted, 3)), 4u);
  EXPECT_TRUE(CheckMessage(demoted, 4).ok());
}

TEST(CheckMessageTest, AMessageOfAnEarlierEpochIsRefused) {
  EXPECT_TRUE(CheckMessage(In(VolumeState::kStandby), 4).ok());
  EXPECT_EQ(wire::FenceOf(CheckMessage(In(VolumeState::kStandby), 3)), 4u);
  EXPECT_EQ(wire::FenceOf(CheckMessage(In(VolumeState::kActive), 4)), 4u);
}

}  // namespace
}  // namespace understudy::dr
