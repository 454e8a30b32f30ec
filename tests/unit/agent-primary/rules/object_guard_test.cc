#include "agent-primary/rules/object_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::primary {
namespace {

using testing::HasSubstr;

constexpr int64_t kMinute = 60'000'000'000;
constexpr ObjectGuardLimits kLimits{.max_delete_fraction = 0.5, .min_objects = 5};

TEST(ObjectGuardTest, AFewOrLessThanThePartMayGo) {
  GuardRecord counts;
  EXPECT_FALSE(JudgeLoss(kLimits, counts, {.at_dr = 10, .gone = 5}, 0));
  EXPECT_FALSE(JudgeLoss(kLimits, counts, {.at_dr = 10, .gone = 0}, 0));
  GuardRecord few;
  EXPECT_FALSE(JudgeLoss(kLimits, few, {.at_dr = 4, .gone = 4}, 0));
}

TEST(ObjectGuardTest, MoreThanThePartIsHeld) {
  GuardRecord counts;
  const auto hold = JudgeLoss(kLimits, counts, {.at_dr = 10, .gone = 6}, 0);
  ASSERT_TRUE(hold);
  EXPECT_EQ(hold->before, 10U);
  EXPECT_EQ(hold->gone, 6U);
}

TEST(ObjectGuardTest, OneByOneIsHeldAsSoonAsItIsAsMuch) {
  GuardRecord counts;
  uint64_t at_dr = 10;
  while (!JudgeLoss(kLimits, counts, {.at_dr = at_dr, .gone = 1}, 0)) --at_dr;
  EXPECT_EQ(at_dr, 5U) << "half may go";
}

TEST(ObjectGuardTest, WhatWentMoreThanAnHourAgoIsForgotten) {
  GuardRecord counts;
  EXPECT_FALSE(JudgeLoss(kLimits, counts, {.at_dr = 20, .gone = 1}, 0));
  EXPECT_TRUE(JudgeLoss(kLimits, counts, {.at_dr = 10, .gone = 1}, 59 * kMinute));
  EXPECT_FALSE(JudgeLoss(kLimits, counts, {.at_dr = 10, .gone = 1}, 62 * kMinute));
}

TEST(ObjectGuardTest, WhatIsHeldBackIsComparedWithWhatThereWasHoweverLongAgo) {
  GuardRecord counts;
  const auto hold = JudgeLoss(kLimits, counts, {.at_dr = 20, .gone = 11}, 0);
  ASSERT_TRUE(hold);
  GuardRecord aged;
  EXPECT_FALSE(JudgeLoss(kLimits, aged, {.at_dr = 12, .gone = 3}, 62 * kMinute));
  const auto still = JudgeLoss(kLimits, counts, {.at_dr = 12, .gone = 3, .held_before = hold->before}, 62 * kMinute);
  ASSERT_TRUE(still);
  EXPECT_EQ(still->before, 20U);
  EXPECT_EQ(still->gone, 11U);
}

TEST(ObjectGuardTest, AnEmptyListIsHeldHoweverFewObjectsThereWere) {
  GuardRecord counts;
  EXPECT_TRUE(JudgeLoss(kLimits, counts, {.at_dr = 1, .gone = 1, .list_is_empty = true}, 0));
  EXPECT_FALSE(JudgeLoss(kLimits, counts, {.at_dr = 0, .gone = 0, .list_is_empty = true}, 0));
}

TEST(ObjectGuardTest, AFractionOfOneTurnsItOff) {
  GuardRecord counts;
  const ObjectGuardLimits off{.max_delete_fraction = 1, .min_objects = 1};
  EXPECT_FALSE(JudgeLoss(off, counts, {.at_dr = 10, .gone = 10, .list_is_empty = true}, 0));
}

TEST(ObjectGuardTest, TheGuardsNameLeadsBackToTheKind) {
  for (const model::ObjectKind kind : {model::ObjectKind::kPersistentVolume, model::ObjectKind::kVolumeSnapshot}) {
    EXPECT_EQ(ParseGuardKind(GuardKindOf(kind)), kind);
    EXPECT_THAT(ReasonOf(kind, {.before = 10, .gone = 6}, kLimits),
                HasSubstr("drctl guard approve " + GuardKindOf(kind)));
  }
  for (const char* other : {"cluster", "objects:", "objects:Pod", "PersistentVolume", ""}) {
    EXPECT_FALSE(ParseGuardKind(other)) << other;
  }
}

TEST(ObjectGuardTest, OnlyTheExpectedClusterIsRecognised) {
  EXPECT_TRUE(JudgeCluster("", "a").ok());
  EXPECT_TRUE(JudgeCluster("a", "a").ok());
  const absl::Status another = JudgeCluster("a", "b");
  EXPECT_TRUE(absl::IsFailedPrecondition(another));
  EXPECT_THAT(std::string(another.message()), HasSubstr("expected is cluster a"));
  const absl::Status unreadable = JudgeCluster("a", absl::PermissionDeniedError("no rights"));
  EXPECT_TRUE(absl::IsUnavailable(unreadable));
  EXPECT_THAT(std::string(unreadable.message()), HasSubstr("expected is cluster a; no rights"));
}

}  // namespace
}  // namespace understudy::primary
