#include "agent-primary/watch/dirty_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::primary {
namespace {

constexpr DirtyTimes kTimes{absl::Milliseconds(100), absl::Seconds(1)};

absl::Duration At(int milliseconds) {
  return absl::Milliseconds(milliseconds);
}

std::vector<std::string> PathsOf(const DirtyBatch& batch) {
  std::vector<std::string> paths;
  for (const DirtyPath& path : batch.paths) paths.push_back(path.path);
  return paths;
}

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(DirtySetTest, QuietPathIsDueAfterTheQuietPeriod) {
  DirtySet set(kTimes);
  set.Add("a", HintKind::kPath, false, At(0));
  EXPECT_TRUE(set.Take(At(99), false).empty());
  EXPECT_EQ(set.NextDue(), At(100));
  EXPECT_THAT(PathsOf(set.Take(At(100), false)), ElementsAre("a"));
  EXPECT_EQ(set.NextDue(), std::nullopt);
}

TEST(DirtySetTest, ABusyPathWaitsNoLongerThanTheMaximum) {
  DirtySet set(kTimes);
  for (int t = 0; t < 1000; t += 50) {
    EXPECT_TRUE(set.Take(At(t), false).empty()) << t;
    set.Add("image", HintKind::kPath, false, At(t));
  }
  EXPECT_THAT(PathsOf(set.Take(At(1000), false)), ElementsAre("image"));
}

TEST(DirtySetTest, AClosedFileIsDueAtOnceAndLeavesABusyOneAlone) {
  DirtySet set(kTimes);
  set.Add("image", HintKind::kPath, false, At(0));
  set.Add("page", HintKind::kPath, true, At(10));
  EXPECT_THAT(PathsOf(set.Take(At(10), false)), ElementsAre("page"));
  EXPECT_EQ(set.OldestHint(), At(0));
}

TEST(DirtySetTest, AFileThatIsClosedAfterItsWritesIsDueAtOnce) {
  DirtySet set(kTimes);
  set.Add("page", HintKind::kPath, false, At(0));
  set.Add("page", HintKind::kPath, true, At(10));
  EXPECT_THAT(PathsOf(set.Take(At(10), false)), ElementsAre("page"));
}

TEST(DirtySetTest, OneHintAtTheSubtreeIsEnoughForIt) {
  DirtySet set(kTimes);
  set.Add("d", HintKind::kPath, false, At(0));
  set.Add("d", HintKind::kSubtree, false, At(1));
  set.Add("d", HintKind::kPath, false, At(2));
  EXPECT_TRUE(set.Take(At(2), true).paths[0].subtree);
}

TEST(DirtySetTest, AFailedSubtreeStaysOne) {
  DirtySet set(kTimes);
  set.Add("d", HintKind::kSubtree, true, At(0));
  const DirtyBatch batch = set.Take(At(1), false);
  set.Add("d", HintKind::kPath, false, At(2));
  set.Restore(batch);
  EXPECT_TRUE(set.Take(At(2), false).paths[0].subtree);
}

TEST(DirtySetTest, AFailedScanIsDueAgainAndKeepsItsAge) {
  DirtySet set(kTimes);
  set.AddWholeVolume(At(3), /*hinted=*/true);
  const DirtyBatch batch = set.Take(At(4), false);
  EXPECT_TRUE(set.Take(At(5), false).empty());
  set.Restore(batch);
  EXPECT_EQ(set.OldestHint(), At(3));
  EXPECT_TRUE(set.Take(At(5), false).whole_volume);
}

TEST(DirtySetTest, ABarrierTakesEverything) {
  DirtySet set(kTimes);
  set.Add("a", HintKind::kPath, false, At(5));
  set.Add("b", HintKind::kSubtree, false, At(3));
  const DirtyBatch batch = set.Take(At(5), true);
  EXPECT_THAT(PathsOf(batch), ElementsAre("a", "b"));
  EXPECT_TRUE(batch.paths[1].subtree);
  EXPECT_EQ(batch.oldest_hint, At(3));
}

TEST(DirtySetTest, WhatFailedIsDueAgainAndKeepsItsAge) {
  DirtySet set(kTimes);
  set.Add("a", HintKind::kPath, true, At(0));
  const DirtyBatch batch = set.Take(At(1), false);
  set.Add("a", HintKind::kPath, false, At(500));
  set.Restore(batch);
  EXPECT_EQ(set.OldestHint(), At(0));
  EXPECT_THAT(PathsOf(set.Take(At(501), false)), ElementsAre("a"));
}

TEST(DirtySetTest, ARecheckIsNoLag) {
  DirtySet set(kTimes);
  set.AddRecheck("a", At(0));
  EXPECT_EQ(set.OldestHint(), std::nullopt);
  EXPECT_EQ(set.NextDue(), At(100));
  set.Add("a", HintKind::kPath, false, At(50));
  EXPECT_EQ(set.OldestHint(), At(50));
}

TEST(DirtySetTest, TooManyPathsBecomeTheWholeVolume) {
  DirtySet set(kTimes);
  set.Add("first", HintKind::kPath, false, At(2));
  for (size_t i = 0; i < kMaxDirtyPaths; ++i) set.Add(std::to_string(i), HintKind::kPath, false, At(7));
  EXPECT_EQ(set.size(), 1u);
  const DirtyBatch batch = set.Take(At(7), false);
  EXPECT_TRUE(batch.whole_volume);
  EXPECT_THAT(batch.paths, IsEmpty());
  EXPECT_EQ(batch.oldest_hint, At(2));
}

TEST(DirtySetTest, AnUnhintedScanIsNoLagUntilSomethingIsHinted) {
  DirtySet set(kTimes);
  set.AddWholeVolume(At(0), /*hinted=*/false);
  EXPECT_EQ(set.OldestHint(), std::nullopt);
  set.Add("a", HintKind::kPath, true, At(9));
  EXPECT_EQ(set.OldestHint(), At(9));
  EXPECT_TRUE(set.Take(At(9), false).whole_volume);
  EXPECT_EQ(set.OldestHint(), std::nullopt);
}

TEST(DirtySetTest, WhatIsPostponedHoldsUpNothingElseAndCountsAsLag) {
  DirtySet set(kTimes);
  set.Add("image", HintKind::kPath, true, At(0));
  const DirtyBatch taken = set.Take(At(10), false);
  set.Postpone("image", At(5000), taken.oldest_hint, At(20));
  set.Add("image", HintKind::kPath, true, At(30));
  set.Add("other", HintKind::kPath, true, At(40));
  EXPECT_THAT(PathsOf(set.Take(At(50), false)), ElementsAre("other"));
  EXPECT_EQ(set.NextDue(), At(5000));
  EXPECT_EQ(set.OldestHint(), At(0));
  DirtySet waited_for = set;
  EXPECT_THAT(PathsOf(waited_for.Take(At(60), true)), ElementsAre("image"));
  EXPECT_THAT(PathsOf(set.Take(At(5000), false)), ElementsAre("image"));
}

}  // namespace
}  // namespace understudy::primary
