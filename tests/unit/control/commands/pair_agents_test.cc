// What a pair's agents say of where its volumes live, while some of them can't be asked.
#include "control/commands/pair_agents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/control/commands/fake_pair.h"

namespace understudy::control {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

class PairAgentsTest : public FakePairTest {
 protected:
  std::unique_ptr<PairAgents> Connect(Direction direction) {
    auto agents = ConnectPair(config_, pair_, direction);
    EXPECT_TRUE(agents.ok()) << agents.status();
    return agents.ok() ? *std::move(agents) : nullptr;
  }
};

TEST_F(PairAgentsTest, WhatDrSaysHoldsWhateverTheOthersDo) {
  const std::unique_ptr<PairAgents> agents = Connect(Direction::kToDr);
  reverse_dr_.replicas.Set("made-at-dr", "standby");
  dr_.replicas.Set("web", "active");
  absl::StatusOr<LiveCopies> live = agents->LiveAtDr();
  ASSERT_TRUE(live.ok()) << live.status();
  EXPECT_THAT(live->states, ElementsAre(Pair("made-at-dr", "live at DR"), Pair("web", "active")));
  EXPECT_TRUE(live->others.ok());

  reverse_dr_.replicas.answer = kAway;
  live = agents->LiveAtDr();
  ASSERT_TRUE(live.ok()) << live.status();
  EXPECT_THAT(live->states, ElementsAre(Pair("web", "active")));
  EXPECT_FALSE(live->others.ok());
  dr_.replicas.Set("web", "standby");
  EXPECT_THAT(agents->LiveAtDr()->standby, ElementsAre("web"));
  dr_.replicas.answer = kAway;
  EXPECT_FALSE(agents->LiveAtDr().ok());
}

TEST_F(PairAgentsTest, NothingIsCarriedToThePrimaryWhenDrsHostSaysThatNothingWasTurned) {
  const std::unique_ptr<PairAgents> agents = Connect(Direction::kToPrimary);
  reverse_dr_.replicas.answer = kAway;
  reverse_primary_.answer = kAway;
  dr_.replicas.Set("web", "active");
  EXPECT_FALSE(agents->LiveAtDr().ok());
  ASSERT_TRUE(agents->Carried().ok()) << agents->Carried().status();
  EXPECT_THAT(*agents->Carried(), IsEmpty());
  dr_.replicas.Set("web", "active", /*reprotected=*/true);
  EXPECT_FALSE(agents->Carried().ok());

  // What was made at DR is known there by who sends it alone.
  dr_.replicas.Set("web", "standby");
  EXPECT_TRUE(agents->Carried().ok());
  reverse_primary_.answer = {};
  reverse_primary_.Set("made-at-dr", "connecting");
  EXPECT_FALSE(agents->Carried().ok());
  reverse_primary_.Set("made-at-dr", "handed-over");
  EXPECT_TRUE(agents->Carried().ok());
  dr_.replicas.answer = kAway;
  EXPECT_FALSE(agents->Carried().ok());
}

}  // namespace
}  // namespace understudy::control
