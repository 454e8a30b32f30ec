// Which captures the deletion guard holds back.
#include "agent-primary/capture/deletion_guard.h"

#include <gtest/gtest.h>

namespace understudy::primary {
namespace {

constexpr int64_t kMinute = 60'000'000'000;
constexpr int64_t kNow = 1'000'000 * kMinute;

struct Case {
  const char* what;
  uint64_t entries;
  uint64_t after;
  GuardLimits limits;
  bool allowed;
  uint64_t bytes = 0;
};

TEST(DeletionGuardTest, OneCapture) {
  const GuardLimits usual;
  for (const Case& one : {
           Case{"nothing goes", 1000, 1000, usual, true},
           Case{"more comes", 1000, 2000, usual, true},
           Case{"exactly half goes", 1000, 500, usual, true},
           Case{"more than half goes", 1000, 499, usual, false},
           Case{"all goes", 1000, 0, usual, false},
           Case{"all of the fewest goes", 100, 0, usual, false},
           Case{"all goes, but it is little", 99, 0, usual, true},
           Case{"little goes at the bound", 150, 50, usual, false},
           Case{"a stricter part", 1000, 890, {0.1, 100}, false},
           Case{"a stricter part, not reached", 1000, 900, {0.1, 100}, true},
           Case{"every file counts", 1, 0, {0.5, 1}, false},
           Case{"turned off", 1000, 0, {1, 1}, true},
           Case{"a disk image, and nothing is left", 1, 0, usual, false, kGuardedBytes},
           Case{"nothing is left, but it was little", 1, 0, usual, true, kGuardedBytes - 1},
           Case{"nothing is left, turned off", 1, 0, {1, 1}, true, kGuardedBytes},
           Case{"nothing was there", 0, 0, usual, true, kGuardedBytes},
           Case{"an index that was lost fills again", 0, 10, usual, true},
       }) {
    GuardRecord record;
    const Deletion deletion{one.entries, one.after, one.bytes};
    EXPECT_EQ(AllowDeletion(one.limits, record, deletion, kNow), one.allowed) << one.what;
    EXPECT_EQ(record.held.has_value(), !one.allowed) << one.what;
  }
}

TEST(DeletionGuardTest, ManySmallCapturesCountAsOne) {
  GuardRecord record;
  uint64_t entries = 1000;
  int captures = 0;
  while (entries > 0 && AllowDeletion({}, record, {entries, entries - 10}, kNow + captures * kMinute / 2)) {
    entries -= 10;
    ++captures;
  }
  EXPECT_EQ(entries, 500u);
  ASSERT_TRUE(record.held.has_value());
  EXPECT_EQ(*record.held, (HeldDeletion{1000, 510, kNow + captures * kMinute / 2, false}));
}

TEST(DeletionGuardTest, FilesThatComeAndGoAreNoDeletion) {
  GuardRecord record;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(AllowDeletion({}, record, {1000, 1300}, kNow + i * kMinute));
    EXPECT_TRUE(AllowDeletion({}, record, {1300, 1000}, kNow + i * kMinute));
  }
}

TEST(DeletionGuardTest, WhatWentMoreThanAnHourAgoIsForgotten) {
  GuardRecord record;
  EXPECT_TRUE(AllowDeletion({}, record, {1000, 600}, kNow));
  GuardRecord within = record;
  EXPECT_FALSE(AllowDeletion({}, within, {600, 400}, kNow + kGuardWindowMinutes * kMinute));
  EXPECT_TRUE(AllowDeletion({}, record, {600, 400}, kNow + (kGuardWindowMinutes + 1) * kMinute));
}

TEST(DeletionGuardTest, WhatIsHeldBackDoesNotAgeIntoBeingAllowed) {
  GuardRecord record;
  EXPECT_TRUE(AllowDeletion({}, record, {1000, 550}, kNow));
  EXPECT_FALSE(AllowDeletion({}, record, {550, 400}, kNow + kMinute));
  EXPECT_FALSE(AllowDeletion({}, record, {550, 400}, kNow + 500 * kMinute));
  EXPECT_EQ(record.held->since_nanoseconds, kNow + kMinute);
  EXPECT_TRUE(AllowDeletion({}, record, {550, 540}, kNow + 501 * kMinute)) << "the files are back";
  EXPECT_FALSE(record.held.has_value());
}

TEST(DeletionGuardTest, AnApprovalCoversWhatWasShownAndNoMore) {
  GuardRecord record;
  EXPECT_FALSE(AllowDeletion({}, record, {1000, 400}, kNow));
  EXPECT_TRUE(absl::IsFailedPrecondition(ApproveDeletion(record, 599)));
  EXPECT_TRUE(ApproveDeletion(record, 600).ok());
  EXPECT_TRUE(AllowDeletion({}, record, {1000, 700}, kNow)) << "in several captures";
  EXPECT_TRUE(AllowDeletion({}, record, {700, 400}, kNow));
  EXPECT_FALSE(AllowDeletion({}, record, {400, 399}, kNow)) << "one more";
  EXPECT_EQ(*record.held, (HeldDeletion{1000, 601, kNow, false}));
}

TEST(DeletionGuardTest, AnApprovalThatWasUsedMakesANewStart) {
  GuardRecord record;
  EXPECT_TRUE(absl::IsFailedPrecondition(ApproveDeletion(record, 1000)));
  EXPECT_FALSE(AllowDeletion({}, record, {1000, 400}, kNow));
  EndApproval(record, 1000, kNow);
  EXPECT_TRUE(record.held.has_value()) << "nothing was approved yet";
  EXPECT_TRUE(ApproveDeletion(record, 600).ok());
  EXPECT_TRUE(AllowDeletion({}, record, {1000, 400}, kNow));
  EndApproval(record, 400, kNow);
  EXPECT_FALSE(record.held.has_value());
  EXPECT_TRUE(AllowDeletion({}, record, {400, 250}, kNow));
  EXPECT_FALSE(AllowDeletion({}, record, {250, 190}, kNow));
  EXPECT_EQ(record.held->entries_before, 400u);
}

TEST(DeletionGuardTest, WhatWasLostIsBackAndALaterDeletionNeedsAnApprovalOfItsOwn) {
  GuardRecord record;
  EXPECT_FALSE(AllowDeletion({}, record, {1000, 400}, kNow));
  EXPECT_TRUE(ApproveDeletion(record, 600).ok());
  EXPECT_TRUE(AllowDeletion({}, record, {1000, 1000}, kNow)) << "the files are back";
  EndApproval(record, 1000, kNow);
  EXPECT_FALSE(AllowDeletion({}, record, {1000, 400}, kNow + kMinute));
}

TEST(DeletionGuardTest, TheRecordStaysSmallWhateverTheClockDoes) {
  GuardRecord record;
  for (int64_t i = 0; i < 10'000; ++i)
    RecordEntries(record, static_cast<uint64_t>(100'000 - i), kNow + i * kMinute / 3);
  EXPECT_LE(record.counts.size(), static_cast<size_t>(kGuardWindowMinutes) + 1);
  // Set back by a year: the counts last for an hour from there.
  RecordEntries(record, 10, kNow - 500'000 * kMinute);
  EXPECT_GT(record.counts.front().entries, 10u);
  RecordEntries(record, 10, kNow - 500'000 * kMinute + (kGuardWindowMinutes + 1) * kMinute);
  EXPECT_EQ(record.counts.size(), 1u);
}

}  // namespace
}  // namespace understudy::primary
