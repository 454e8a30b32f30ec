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

}  // namespace
}  // namespace understudy::dr
