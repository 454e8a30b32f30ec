// Changed blocks of a disk image travel many to a message, in their order, and no message is larger than DR takes.
#include "agent-primary/ship/range_batch.h"

#include <gtest/gtest.h>

#include "core/wire/limits.h"

namespace understudy::primary {
namespace {

constexpr uint64_t kBlock = 4096;

TEST(RangeBatch, ManyBlocksMakeFewMessages) {
  const std::string block(kBlock, 'x');
  RangeBatch batch;
  size_t messages = 0;
  uint64_t next = 0;
  const auto take = [&] {
    const v1::StageData message = batch.Take();
    ++messages;
    EXPECT_EQ(message.offset(), next);
    next += 2 * kBlock;
    for (const v1::StageRange& range : message.more()) {
      EXPECT_EQ(range.offset(), next);
      EXPECT_EQ(range.length(), kBlock);
      EXPECT_EQ(range.data(), block);
      next += 2 * kBlock;
    }
  };
  for (uint64_t i = 0; i < 1000; ++i) {
    ASSERT_TRUE(batch.Add("web", 3, i * 2 * kBlock, kBlock, block));
    if (batch.full()) take();
  }
  if (!batch.empty()) take();
  EXPECT_EQ(messages, 32u);
  EXPECT_EQ(next, 1000 * 2 * kBlock);
}

TEST(RangeBatch, HolesTakeNoRoomAndAreBoundedInNumber) {
  RangeBatch batch;
  for (size_t i = 0; i < wire::kMaxStageRanges; ++i) {
    ASSERT_FALSE(batch.full());
    ASSERT_TRUE(batch.Add("web", 3, i * 2 * kBlock, kBlock, ""));
  }
  EXPECT_TRUE(batch.full());
  EXPECT_FALSE(batch.Add("web", 3, uint64_t{1} << 40, kBlock, ""));
  EXPECT_EQ(static_cast<size_t>(batch.Take().more_size()) + 1, wire::kMaxStageRanges);
  EXPECT_TRUE(batch.empty());
}

TEST(RangeBatch, AMessageIsOfOneSlotAndNoLargerThanDrTakes) {
  RangeBatch batch;
  ASSERT_TRUE(batch.Add("web", 3, 0, 1, "a"));
  EXPECT_FALSE(batch.Add("web", 4, 0, 1, "b"));
  const std::string most(wire::kMaxStageBytes, 'x');
  EXPECT_FALSE(batch.Add("web", 3, kBlock, most.size(), most));
  EXPECT_EQ(batch.Take().data(), "a");
  EXPECT_TRUE(batch.Add("web", 4, kBlock, most.size(), most));
  EXPECT_TRUE(batch.full());
}

}  // namespace
}  // namespace understudy::primary
