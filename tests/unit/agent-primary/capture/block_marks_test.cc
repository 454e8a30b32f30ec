#include "agent-primary/capture/block_marks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "core/delta/content_digest.h"

namespace understudy::primary {
namespace {

using delta::kBlockBytes;
using os::DataRange;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string MarksOf(std::string_view bytes) {
  std::string marks;
  (void)delta::DigestOfBlocks(0, bytes, &marks);
  return marks;
}

std::string Letters(const std::string& letters) {
  std::string bytes;
  for (const char letter : letters) bytes.append(kBlockBytes, letter == '0' ? '\0' : letter);
  return bytes;
}

std::vector<DataRange> Between(std::string_view before, std::string_view now) {
  return ChangedBlocks(MarksOf(before), MarksOf(now), now.size());
}

TEST(BlockMarksTest, NeighboursThatChangedAreOneRun) {
  EXPECT_THAT(Between(Letters("abcdef"), Letters("aXXdeX")),
              ElementsAre(DataRange{kBlockBytes, 3 * kBlockBytes}, DataRange{5 * kBlockBytes, 6 * kBlockBytes}));
  EXPECT_THAT(Between(Letters("abc"), Letters("abc")), IsEmpty());
}

TEST(BlockMarksTest, WhatWasntThereWasZeros) {
  EXPECT_THAT(Between(Letters("ab"), Letters("ab0c0")), ElementsAre(DataRange{3 * kBlockBytes, 4 * kBlockBytes}));
  EXPECT_THAT(Between("", Letters("00")), IsEmpty());
  EXPECT_THAT(Between(Letters("abc"), Letters("a0")), ElementsAre(DataRange{kBlockBytes, 2 * kBlockBytes}));
}

TEST(BlockMarksTest, AShorterLastBlockIsAnotherOne) {
  const std::string before = Letters("ab");
  const std::string now = before.substr(0, kBlockBytes + 10);
  EXPECT_THAT(Between(before, now), ElementsAre(DataRange{kBlockBytes, kBlockBytes + 10}));
}

TEST(BlockMarksTest, BlocksThatChangePlacesAreOthers) {
  EXPECT_THAT(Between(Letters("ab"), Letters("ba")), ElementsAre(DataRange{0, 2 * kBlockBytes}));
}

TEST(BlockMarksTest, ContentMovedWhereMostOfWhatFollowsChanged) {
  constexpr uint64_t kLength = 100 * kBlockBytes;
  EXPECT_TRUE(LooksMoved({{10 * kBlockBytes, kLength}}, kLength));
  EXPECT_TRUE(LooksMoved({{0, 60 * kBlockBytes}, {70 * kBlockBytes, 90 * kBlockBytes}}, kLength));
  EXPECT_FALSE(LooksMoved({{0, kBlockBytes}, {70 * kBlockBytes, 90 * kBlockBytes}}, kLength));
  EXPECT_FALSE(LooksMoved({{95 * kBlockBytes, kLength}}, kLength)) << "too little to look for";
  EXPECT_FALSE(LooksMoved({}, kLength));
}

// An old file of two segments and a bit, its marks, and what it became.
class ShiftedBlocksTest : public ::testing::Test {
 protected:
  ShiftedBlocksTest() {
    std::mt19937_64 random(1);
    for (char& byte : old_) byte = static_cast<char>(random());
  }
  std::vector<DataRange> Find(uint64_t number, int64_t shift, std::string_view now, uint64_t now_offset = 0) const {
    std::string marks;
    const uint64_t offset = number * delta::kSegmentBytes;
    (void)delta::DigestOfSegment(number, std::string_view(old_).substr(offset, delta::kSegmentBytes), &marks);
    return ShiftedBlocks(number, marks, old_.size(), shift, now, now_offset);
  }

  std::string old_ = std::string(2 * delta::kSegmentBytes + 2 * kBlockBytes + 50, '\0');
};

TEST_F(ShiftedBlocksTest, AllOfASegmentWhereverItWent) {
  for (const int64_t shift : {int64_t{0}, int64_t{1}, int64_t{4096}, int64_t{5000}, int64_t{70'001}}) {
    const auto by = static_cast<uint64_t>(shift);
    const std::string now = std::string(by, 'x') + old_;
    for (const uint64_t number : {0, 1, 2}) {
      const uint64_t begin = number * delta::kSegmentBytes;
      const uint64_t end = std::min<uint64_t>(begin + delta::kSegmentBytes, old_.size());
      EXPECT_THAT(Find(number, shift, now), ElementsAre(DataRange{begin + by, end + by})) << shift;
    }
  }
  EXPECT_THAT(Find(1, -5000, old_.substr(5000)),
              ElementsAre(DataRange{delta::kSegmentBytes - 5000, 2 * delta::kSegmentBytes - 5000}));
}

TEST_F(ShiftedBlocksTest, OnlyWholeBlocksWithinWhatIsLookedAt) {
  const std::string now = "xyz" + old_;
  EXPECT_THAT(Find(0, 3, std::string_view(now).substr(100, 3 * kBlockBytes), 100),
              ElementsAre(DataRange{kBlockBytes + 3, 3 * kBlockBytes + 3}));
  EXPECT_THAT(Find(1, 3, std::string_view(now).substr(100, 3 * kBlockBytes), 100), IsEmpty()) << "it is elsewhere";
  EXPECT_THAT(Find(2, 3, std::string_view(now).substr(0, now.size() - 1)),
              ElementsAre(DataRange{2 * delta::kSegmentBytes + 3, 2 * delta::kSegmentBytes + 2 * kBlockBytes + 3}))
      << "the last one, which is shorter, isn't there as a whole";
}

TEST_F(ShiftedBlocksTest, WhatIsElseNow) {
  std::string now = "xyz" + old_;
  now[5 * kBlockBytes] ^= 1;
  EXPECT_THAT(Find(0, 3, now),
              ElementsAre(DataRange{3, 4 * kBlockBytes + 3}, DataRange{5 * kBlockBytes + 3, delta::kSegmentBytes + 3}));
  EXPECT_THAT(Find(0, 4, now), IsEmpty());
}

}  // namespace
}  // namespace understudy::primary
