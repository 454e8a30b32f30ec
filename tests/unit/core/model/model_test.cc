#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/model/commit.h"
#include "core/model/object.h"
#include "core/model/path.h"
#include "core/model/recovery_point.h"
#include "core/model/volume.h"

namespace understudy::model {
namespace {

TEST(PathTest, WhatIsAPath) {
  for (const char* good : {"", "a", "a/b", "...", "-rf", "a b", "\xff", "a\nb", ".a/..b"}) {
    EXPECT_TRUE(ValidatePath(good).ok()) << good;
  }
  for (const char* bad : {"/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b"}) {
    EXPECT_FALSE(ValidatePath(bad).ok()) << bad;
  }
  EXPECT_FALSE(ValidatePath(std::string("a\0b", 3)).ok());
  EXPECT_TRUE(ValidatePath(std::string(255, 'x')).ok());
  EXPECT_FALSE(ValidatePath(std::string(256, 'x')).ok());
}

TEST(PathTest, KeyOrderIsTheOrderOfAWalk) {
  std::vector<std::string> paths = {"a-b", "a/c", "a", "b", "a/b/x", "a/b", "a.b"};
  std::sort(paths.begin(), paths.end(), [](const auto& x, const auto& y) { return Key(x) < Key(y); });
  EXPECT_EQ(paths, (std::vector<std::string>{"a", "a/b", "a/b/x", "a/c", "a-b", "a.b", "b"}));
  EXPECT_EQ(PathOfKey(Key("a/b/c")), "a/b/c");
}

TEST(PathTest, Parts) {
  EXPECT_EQ(Parent("a/b/c"), "a/b");
  EXPECT_EQ(Parent("a"), "");
  EXPECT_EQ(LeafName("a/b"), "b");
  EXPECT_EQ(Join("", "x"), "x");
  EXPECT_EQ(Join("a", "x"), "a/x");
  EXPECT_TRUE(IsWithin("a/b", "a"));
  EXPECT_TRUE(IsWithin("a", "a"));
  EXPECT_TRUE(IsWithin("a", ""));
  EXPECT_FALSE(IsWithin("ab", "a"));
}

TEST(VolumeNameTest, WhatIsAName) {
  for (const char* good : {"web", "pvc-1b2c", "a.b_c", "0"}) EXPECT_TRUE(ValidateVolumeName(good).ok()) << good;
  for (const char* bad : {"", ".", "-a", "a/b", "a b", "é"}) EXPECT_FALSE(ValidateVolumeName(bad).ok()) << bad;
  EXPECT_FALSE(ValidateVolumeName(std::string(254, 'a')).ok());
}

SetMetadata Settle(const std::string& path) {
  return {path, FileKind::kDirectory, {}};
}

TEST(CommitTest, OrderOfThePasses) {
  Commit commit;
  commit.operations = {Remove{"b/x", FileKind::kRegular},
                       Detach{"b", 1},
                       MakeDirectory{"a", {}},
                       Attach{1, "a/b"},
                       Settle("a/b"),
                       Settle("a")};
  EXPECT_TRUE(ValidateOrder(commit).ok());
  commit.operations = {Detach{"b", 1}, Remove{"b/x", FileKind::kRegular}};
  EXPECT_FALSE(ValidateOrder(commit).ok()) << "a folder before what is in it";
  commit.operations = {Attach{1, "a/b"}, MakeDirectory{"a", {}}};
  EXPECT_FALSE(ValidateOrder(commit).ok()) << "an entry before its folder";
  commit.operations = {MakeDirectory{"a", {}}, Remove{"b", FileKind::kRegular}};
  EXPECT_FALSE(ValidateOrder(commit).ok()) << "the first pass after the second";
  commit.operations = {Settle("a"), Settle("a")};
  EXPECT_FALSE(ValidateOrder(commit).ok()) << "twice";
}

TEST(ObjectTest, KindsAndTypesComeBack) {
  for (const ObjectKind kind : {ObjectKind::kPersistentVolume, ObjectKind::kPersistentVolumeClaim,
                                ObjectKind::kVolumeSnapshot, ObjectKind::kVolumeSnapshotContent}) {
    EXPECT_EQ(ParseObjectKind(ToString(kind)).value(), kind);
  }
  EXPECT_FALSE(ParseObjectKind("Pod").ok());
  EXPECT_EQ(ParseEventType("DELETED").value(), EventType::kDeleted);
  EXPECT_FALSE(ParseEventType("deleted").ok());
}

RecoveryPoint StateAt(Sequence sequence, int committed_seconds, bool completes_capture) {
  RecoveryPoint point;
  point.sequence = sequence;
  point.committed_at = absl::FromUnixSeconds(committed_seconds);
  point.completes_capture = completes_capture;
  return point;
}

TEST(RecoveryPointTest, TheNewestWholeStateIsTheOneThatIsShownIfThatIsWhole) {
  RecoveryPoints points;
  EXPECT_EQ(NewestWhole(points), nullptr);
  points.newest = StateAt(5, 50, false);
  points.points = {StateAt(4, 40, false)};
  EXPECT_EQ(NewestWhole(points), nullptr);
  // As after a rewind: the records aren't in the order of time.
  // Nor was the clock always right.
  points.points = {StateAt(4, 40, false), StateAt(1, 3600, true), StateAt(3, 30, true), StateAt(2, 20, true)};
  ASSERT_NE(NewestWhole(points), nullptr);
  EXPECT_EQ(NewestWhole(points)->sequence, 3u);
  points.newest.completes_capture = true;
  EXPECT_EQ(NewestWhole(points)->sequence, 5u);
  points.newest.committed_at = absl::UnixEpoch();
  EXPECT_EQ(NewestWhole(points)->sequence, 5u);
}

}  // namespace
}  // namespace understudy::model
