#include "agent-dr/standby/confirmations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace understudy::dr {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

model::ReplicaState Standby(model::Sequence sequence = 7) {
  model::ReplicaState state;
  state.volume = "web";
  state.replica_id = "r1";
  state.epoch = 2;
  state.sequence = sequence;
  return state;
}

model::Confirmation At(int seconds, model::Sequence sequence = 7) {
  return {.volume = "web", .epoch = 2, .sequence = sequence, .as_of = absl::FromUnixSeconds(1'700'000'000 + seconds)};
}

class SteppedClock : public Clock {
 public:
  absl::Time Now() const override { return absl::UnixEpoch() + now_; }
  absl::Duration Monotonic() const override { return now_; }
  void Step(absl::Duration step) { now_ += step; }

 private:
  absl::Duration now_ = absl::Hours(1);
};

class ConfirmationsTest : public ::testing::Test {
 protected:
  std::unique_ptr<Confirmations> Open() {
    auto opened = Confirmations::Open(dir_.File("confirmations.db"), clock_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *std::move(opened);
  }
  static void Take(Confirmations& confirmations, const model::Confirmation& one, const model::ReplicaState& state) {
    const absl::Status taken = confirmations.Take(std::vector{one}, {state});
    EXPECT_TRUE(taken.ok()) << taken;
  }

  tests::TempDir dir_;
  SteppedClock clock_;
};

TEST_F(ConfirmationsTest, TheNewestOfTheStateCounts) {
  const auto confirmations = Open();
  Take(*confirmations, At(1), Standby());
  Take(*confirmations, At(3), Standby());
  Take(*confirmations, At(2), Standby());
  EXPECT_THAT(confirmations->Of({Standby()}), ElementsAre(At(3)));
  EXPECT_THAT(confirmations->Of({Standby(8)}), IsEmpty()) << "said of an earlier state";
  model::ReplicaState made_anew = Standby();
  made_anew.replica_id = "r2";
  EXPECT_THAT(confirmations->Of({made_anew}), IsEmpty());
  Take(*confirmations, At(2, 8), Standby(8));
  EXPECT_THAT(confirmations->Of({Standby(8)}), ElementsAre(At(2, 8)));
}

TEST_F(ConfirmationsTest, WhatDoesNotFitTheReplicaIsPassedOver) {
  const auto confirmations = Open();
  Take(*confirmations, At(1, 6), Standby());
  model::ReplicaState active = Standby();
  active.state = model::VolumeState::kActive;
  Take(*confirmations, At(1), active);
  model::ReplicaState held = Standby();
  held.held = true;
  Take(*confirmations, At(1), held);
  for (const model::ReplicaState& state : {Standby(), Standby(6), active, held}) {
    EXPECT_THAT(confirmations->Of({state}), IsEmpty());
  }
}

TEST_F(ConfirmationsTest, TheyOutliveTheProcessAndAreWrittenNowAndThen) {
  {
    const auto confirmations = Open();
    Take(*confirmations, At(1), Standby());
    Take(*confirmations, At(2), Standby());
  }
  EXPECT_THAT(Open()->Of({Standby()}), ElementsAre(At(1))) << "two within the interval are one write";
  {
    const auto confirmations = Open();
    Take(*confirmations, At(3), Standby());
    clock_.Step(Confirmations::kWriteInterval);
    Take(*confirmations, At(4), Standby());
  }
  EXPECT_THAT(Open()->Of({Standby()}), ElementsAre(At(4)));
}

TEST_F(ConfirmationsTest, AVolumeThatIsGoneIsForgotten) {
  {
    const auto confirmations = Open();
    Take(*confirmations, At(1), Standby());
    clock_.Step(Confirmations::kWriteInterval);
    ASSERT_TRUE(confirmations->Take({}, {}).ok());
  }
  EXPECT_THAT(Open()->Of({Standby()}), IsEmpty());
}

TEST_F(ConfirmationsTest, ADamagedFileIsMadeAnew) {
  std::ofstream(dir_.File("confirmations.db")) << std::string(8192, 'x');
  const auto confirmations = Open();
  ASSERT_NE(confirmations, nullptr);
  Take(*confirmations, At(1), Standby());
  EXPECT_THAT(confirmations->Of({Standby()}), ElementsAre(At(1)));
}

}  // namespace
}  // namespace understudy::dr
