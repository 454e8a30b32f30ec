#include "agent-primary/capture/block_marks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

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

}  // namespace
}  // namespace understudy::primary
