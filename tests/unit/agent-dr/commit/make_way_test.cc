// What works long over what is kept ends for a promotion that waits.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "tests/unit/agent-dr/commit/rewind_fixture.h"
#include "tests/unit/agent-dr/commit/waiting_promotion.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using testing::HasSubstr;

class MakeWayTest : public RewindTest {};

TEST_F(MakeWayTest, ARewindEndsAndWhatItLeftIsntPromotedUnasked) {
  for (int i = 0; i < 5; ++i) Commit({InlinePut("a", fmt::format("{}", i))});
  WaitingPromotion promotion(*engine_);
  size_t steps = 0;
  const absl::Status ended = engine_->Rewind("vol", 1, [&](size_t step, size_t) {
    ++steps;
    if (step == 1) promotion.Begin();
  });
  EXPECT_TRUE(absl::IsAborted(ended)) << ended;
  EXPECT_EQ(steps, 2u);
  const auto refused = promotion.Join();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("stands at that after commit 4"));
  EXPECT_EQ(Show(*engine_, "vol"), states_[3].shown);
  RewindTo(states_[0]);
  EXPECT_TRUE(engine_->BeginPromotion("vol", false).ok());
}

TEST_F(MakeWayTest, WhatARewindLeftIsPromotedWhenThatIsAskedFor) {
  for (int i = 0; i < 3; ++i) Commit({InlinePut("a", fmt::format("{}", i))});
  {
    WaitingPromotion promotion(*engine_);
    const absl::Status ended = engine_->Rewind("vol", 1, [&](size_t step, size_t) {
      if (step == 1) promotion.Begin();
    });
    EXPECT_TRUE(absl::IsAborted(ended)) << ended;
  }
  EXPECT_TRUE(engine_->BeginPromotion("vol", /*allow_incomplete=*/true).ok());
}

TEST_F(MakeWayTest, ASessionAfterARewindThatEndedIsPromotedAsAnyOther) {
  for (int i = 0; i < 3; ++i) Commit({InlinePut("a", fmt::format("{}", i))});
  {
    WaitingPromotion promotion(*engine_);
    const absl::Status ended = engine_->Rewind("vol", 1, [&](size_t step, size_t) {
      if (step == 1) promotion.Begin();
    });
    EXPECT_TRUE(absl::IsAborted(ended)) << ended;
  }
  Open();
  Commit({InlinePut("a", "newest")});
  EXPECT_TRUE(engine_->BeginPromotion("vol", false).ok());
}

// Calls when publishing has come to its first effect.
class AtFirstEffect : public dr::FaultPoints {
 public:
  absl::Status Reach(dr::Step step, size_t index) override {
    if (step == dr::Step::kPublish && index == 0 && call != nullptr) call();
    return absl::OkStatus();
  }
  std::function<void()> call;
};

TEST_F(MakeWayTest, CountingWhatIsKeptIsLeftForLater) {
  AtFirstEffect effects;
  session_ = dr::Session();
  engine_.reset();
  engine_ = host_->Start(effects);
  Open();
  std::vector<model::Operation> made = {model::MakeDirectory{"d", Meta(0755)}};
  for (int i = 0; i < 50; ++i) made.push_back(InlinePut(fmt::format("d/{:02}", i), std::string(8192, 'x')));
  Commit(made);
  constexpr uint64_t kContent = 50 * 8192;
  {
    WaitingPromotion promotion(*engine_);
    promotion.given_up_later = true;
    effects.call = [&] { promotion.Begin(); };
    const absl::Status done = TryCommit({model::Remove{"d", FileKind::kDirectory}});
    ASSERT_TRUE(done.ok()) << done;
    EXPECT_TRUE(absl::IsCancelled(promotion.Join().status()));
    effects.call = nullptr;
  }
  EXPECT_LT(engine_->TotalsOfPoints("vol")->held_bytes, kContent);
  ASSERT_TRUE(engine_->Thin("vol").ok());
  EXPECT_GE(engine_->TotalsOfPoints("vol")->held_bytes, kContent);
}

}  // namespace
}  // namespace understudy::tests
