// Which records lead to a kept state, and which have to go.
#include "agent-dr/commit/points.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::dr {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

UndoAbout Record(model::Sequence sequence, model::Sequence from, model::Sequence to) {
  UndoAbout record;
  record.sequence = sequence;
  record.from = from;
  record.point.sequence = to;
  return record;
}

TEST(PathToTest, NewestRecordsFirst) {
  const std::vector<UndoAbout> records = {Record(1, 1, 0), Record(2, 2, 1), Record(3, 3, 2)};
  EXPECT_THAT(PathTo(records, 3, 3).value(), IsEmpty());
  EXPECT_THAT(PathTo(records, 3, 1).value(), ElementsAre(3, 2));
  EXPECT_THAT(PathTo(records, 3, 0).value(), ElementsAre(3, 2, 1));
}

TEST(PathToTest, ForwardAgainAfterARewind) {
  // Taken back from 3 to 1, by the commits 5 and 7.
  const std::vector<UndoAbout> records = {Record(1, 1, 0), Record(5, 2, 3), Record(7, 1, 2)};
  EXPECT_THAT(PathTo(records, 1, 3).value(), ElementsAre(7, 5));
  EXPECT_THAT(PathTo(records, 1, 0).value(), ElementsAre(1));
}

TEST(PathToTest, WhatIsNotKeptIsNotFound) {
  const std::vector<UndoAbout> records = {Record(3, 3, 2), Record(4, 4, 3)};
  EXPECT_EQ(PathTo(records, 4, 1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(PathTo(records, 4, 9).status().code(), absl::StatusCode::kNotFound);
  // Damaged: these lead in a circle.
  const std::vector<UndoAbout> circle = {Record(3, 3, 2), Record(4, 2, 3)};
  EXPECT_EQ(PathTo(circle, 9, 3).status().code(), absl::StatusCode::kNotFound);
}

class CountBeyondTest : public ::testing::Test {
 protected:
  // Superseded a minute after one another, the newest now; 100 bytes each.
  std::vector<UndoAbout> Records(size_t count) const {
    std::vector<UndoAbout> records;
    for (size_t i = 1; i <= count; ++i) {
      records.push_back(Record(i, i, i - 1));
      records.back().point.held_bytes = 100;
      records.back().superseded_at_nanoseconds =
          absl::ToUnixNanos(now_ - absl::Minutes(static_cast<int64_t>(count - i)));
    }
    return records;
  }
  const absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);
};

TEST_F(CountBeyondTest, WhatIsTooOld) {
  EXPECT_EQ(CountBeyond(Records(10), {.keep_for = absl::Minutes(4), .max_bytes = 1 << 20}, now_), 5u);
  EXPECT_EQ(CountBeyond(Records(10), {.keep_for = absl::Hours(1), .max_bytes = 1 << 20}, now_), 0u);
}

TEST_F(CountBeyondTest, WhatIsTooMuch) {
  EXPECT_EQ(CountBeyond(Records(10), {.keep_for = absl::Hours(1), .max_bytes = 350}, now_), 7u);
  EXPECT_EQ(CountBeyond(Records(10), {.keep_for = absl::Hours(1), .max_bytes = 99}, now_), 10u);
}

TEST_F(CountBeyondTest, NoMoreThanFitIntoMemory) {
  const PointBounds bounds{.keep_for = absl::Hours(24 * 365), .max_bytes = UINT64_MAX};
  EXPECT_EQ(CountBeyond(Records(kMaxUndoRecords - 1), bounds, now_), 0u);
  EXPECT_EQ(CountBeyond(Records(kMaxUndoRecords), bounds, now_), 1u);
  EXPECT_EQ(CountBeyond(Records(kMaxUndoRecords + 7), bounds, now_), 8u);
}

TEST_F(CountBeyondTest, NothingIsNothing) {
  EXPECT_EQ(CountBeyond({}, {.keep_for = absl::ZeroDuration(), .max_bytes = 0}, now_), 0u);
}

class RunsToMergeTest : public ::testing::Test {
 protected:
  // A state that is so old, of a whole capture.
  UndoAbout At(model::Sequence sequence, absl::Duration age) const {
    UndoAbout record = Record(sequence + 1, sequence + 1, sequence);
    record.point.completes_capture = true;
    record.knows_several_names = true;
    record.point.committed_at_nanoseconds = absl::ToUnixNanos(now_ - age);
    return record;
  }
  std::vector<std::vector<model::Sequence>> Runs(const std::vector<UndoAbout>& records, model::Sequence below = 1'000,
                                                 std::optional<model::Sequence> spared = std::nullopt) const {
    return RunsToMerge(records, PointBounds{}, now_, below, spared);
  }
  const absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);  // 08:00 UTC
};

TEST_F(RunsToMergeTest, AllForAQuarterOfAnHourThenHourlyThenDaily) {
  std::vector<UndoAbout> records;
  model::Sequence sequence = 0;
  for (const int hours : {60, 59, 40, 33, 10, 9}) records.push_back(At(sequence++, absl::Hours(hours)));
  for (const int minutes : {70, 65, 50, 40, 14, 10, 1}) records.push_back(At(sequence++, absl::Minutes(minutes)));
  // 20:00 and 21:00 of one day; 16:00 and 23:00 of the next; 22:00, 23:00; 06:50, 06:55; 07:10, 07:20; the rest.
  EXPECT_THAT(Runs(records), ElementsAre(ElementsAre(1, 2), ElementsAre(3, 4), ElementsAre(7, 8), ElementsAre(9, 10)));
  EXPECT_THAT(Runs(records, 8), ElementsAre(ElementsAre(1, 2), ElementsAre(3, 4)));
}

TEST_F(RunsToMergeTest, TheMidstOfACaptureIsNotKept) {
  std::vector<UndoAbout> records = {At(0, absl::Hours(60)), At(1, absl::Hours(60)), At(2, absl::Hours(60))};
  records[1].point.completes_capture = false;
  EXPECT_THAT(Runs(records), ElementsAre(ElementsAre(1, 2, 3)));
  // Nor does another one make way for it.
  records[1].point.completes_capture = true;
  records[0].point.completes_capture = false;
  EXPECT_THAT(Runs(records), ElementsAre(ElementsAre(2, 3)));
}

TEST_F(RunsToMergeTest, TheSparedStateStays) {
  std::vector<UndoAbout> records;
  for (model::Sequence i = 0; i < 4; ++i) records.push_back(At(i, absl::Hours(60)));
  EXPECT_THAT(Runs(records, 1'000, 2), ElementsAre(ElementsAre(1, 2), ElementsAre(3, 4)));
}

TEST_F(RunsToMergeTest, LabelledAndPinnedStatesStay) {
  std::vector<UndoAbout> records;
  for (model::Sequence i = 0; i < 6; ++i) records.push_back(At(i, absl::Hours(60)));
  records[2].point.label = "kept";
  records[4].point.pinned = true;
  EXPECT_THAT(Runs(records), ElementsAre(ElementsAre(1, 2), ElementsAre(3, 4), ElementsAre(5, 6)));
}

TEST_F(RunsToMergeTest, AStateFromWhichTwoWaysGoOnStays) {
  // After 0, 1, 2, 3 the replica was taken back to 1 and went on.
  std::vector<UndoAbout> records = {At(0, absl::Hours(60)), At(1, absl::Hours(60)), At(2, absl::Hours(60)),
                                    At(3, absl::Hours(60))};
  records[0] = At(0, absl::Hours(60));  // 1: 1→0
  records[1].sequence = 5;              // 5: 2→3
  records[1].from = 2;
  records[1].point.sequence = 3;
  records[2].sequence = 7;  // 7: 1→2
  records[2].from = 1;
  records[2].point.sequence = 2;
  records[3].sequence = 8;  // 8: 8→1
  records[3].from = 8;
  records[3].point.sequence = 1;
  EXPECT_THAT(Runs(records), ElementsAre(ElementsAre(5, 7)));
}

}  // namespace
}  // namespace understudy::dr
