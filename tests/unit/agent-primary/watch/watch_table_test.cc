// A watch leads to its folder's path whatever moved above it, and none is kept of a folder that is gone.
#include "agent-primary/watch/watch_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace understudy::primary {
namespace {

using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// The volume "web" (watch 1) with a (2), a/b (3) and c (4).
class WatchTableTest : public ::testing::Test {
 protected:
  WatchTableTest() {
    table_.PlaceRoot(1, "web");
    table_.PlaceBelow(1, "a", 2);
    table_.PlaceBelow(2, "b", 3);
    table_.PlaceBelow(1, "c", 4);
  }
  std::optional<std::string> PathOf(int watch) const {
    const auto place = table_.Find(watch);
    return place.has_value() ? std::optional(place->volume + ":" + place->path) : std::nullopt;
  }
  WatchTable table_;
};

TEST_F(WatchTableTest, WatchesAndPathsLeadToOneAnother) {
  EXPECT_EQ(PathOf(1), "web:");
  EXPECT_EQ(PathOf(3), "web:a/b");
  EXPECT_EQ(PathOf(9), std::nullopt);
  EXPECT_EQ(table_.WatchOf("web", ""), 1);
  EXPECT_EQ(table_.WatchOf("web", "a/b"), 3);
  EXPECT_EQ(table_.WatchOf("web", "a/b/c"), std::nullopt);
  EXPECT_EQ(table_.WatchOf("other", ""), std::nullopt);
}

TEST_F(WatchTableTest, AMovedFolderTakesAllBelowItAlong) {
  table_.MovedAway(1, "a");
  EXPECT_EQ(PathOf(3), std::nullopt);
  EXPECT_EQ(table_.WatchOf("web", "a"), std::nullopt);
  table_.PlaceBelow(4, "d", 2);
  EXPECT_EQ(PathOf(3), "web:c/d/b");
  table_.ForgetOrphans();
  EXPECT_THAT(table_.ForgetOrphans(), IsEmpty()) << "it arrived";
}

TEST_F(WatchTableTest, AFolderThatArrivesNowhereIsForgottenABatchLater) {
  table_.MovedAway(1, "a");
  EXPECT_THAT(table_.ForgetOrphans(), IsEmpty());
  EXPECT_THAT(table_.ForgetOrphans(), UnorderedElementsAre(2, 3));
  EXPECT_EQ(table_.size(), 2u);
}

TEST_F(WatchTableTest, AFolderThatWasReplacedAndArrivesNowhereIsForgottenToo) {
  table_.PlaceBelow(1, "a", 4);
  EXPECT_THAT(table_.ForgetOrphans(), IsEmpty());
  EXPECT_THAT(table_.ForgetOrphans(), UnorderedElementsAre(2, 3));
}

TEST_F(WatchTableTest, WhatStoodInThePlaceIsAnOrphan) {
  table_.PlaceBelow(1, "a", 4);
  EXPECT_EQ(PathOf(4), "web:a");
  EXPECT_EQ(PathOf(3), std::nullopt);
  EXPECT_EQ(table_.WatchOf("web", "c"), std::nullopt);
  table_.PlaceBelow(1, "c", 2);
  EXPECT_EQ(PathOf(3), "web:c/b") << "two folders were exchanged";
}

TEST_F(WatchTableTest, ForgettingGivesAllBelowOnce) {
  EXPECT_THAT(table_.Forget(2), UnorderedElementsAre(2, 3));
  EXPECT_THAT(table_.Forget(2), IsEmpty());
  EXPECT_EQ(table_.WatchOf("web", "a"), std::nullopt);
  EXPECT_THAT(table_.ForgetVolume("web"), UnorderedElementsAre(1, 4));
  EXPECT_EQ(table_.size(), 0u);
}

TEST_F(WatchTableTest, WhatAWalkDoesNotMeetIsForgotten) {
  table_.PlaceRoot(11, "other");
  table_.BeginWalk();
  table_.PlaceRoot(1, "web");
  table_.PlaceBelow(1, "a", 2);
  EXPECT_THAT(table_.ForgetUnseen("web"), UnorderedElementsAre(3, 4));
  EXPECT_EQ(PathOf(11), "other:");
}

}  // namespace
}  // namespace understudy::primary
