// What the index says of a file that DR found damaged: its content isn't known any more, or only some segments aren't.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent-primary/index/volume_index.h"
#include "core/delta/content_digest.h"
#include "tests/support/temp_dir.h"

namespace understudy::primary {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kSize = 3 * delta::kSegmentBytes;

model::Digest Of(const char* text) {
  return delta::DigestOf(text);
}

model::Digest ContentOf(const std::vector<model::SegmentDigest>& segments) {
  delta::ContentDigest digest;
  for (const model::SegmentDigest& segment : segments) digest.Add(segment.digest);
  return digest.Finish(kSize);
}

class DoubtTest : public ::testing::Test {
 protected:
  void SetUp() override {
    index_.reset();
    auto index = VolumeIndex::Open(dir_.File("index.db"));
    ASSERT_TRUE(index.ok()) << index.status();
    index_ = *std::move(index);
    row_.inode = 7;
    row_.size = kSize;
    row_.ctime_nanoseconds = 5;
    row_.content = ContentOf(known_);
    std::vector<IndexChange> changes = {PutRow{"image", row_}};
    for (const model::SegmentDigest& segment : known_) {
      changes.emplace_back(PutSegment{7, {segment.number, segment.digest, "marks"}});
    }
    Commit(std::move(changes));
  }
  void Commit(std::vector<IndexChange> changes) {
    ASSERT_TRUE(index_->Stage(index_->state().sequence + 1, true, changes).ok());
    ASSERT_TRUE(index_->Acknowledge().ok());
  }
  std::vector<std::string> Doubt(std::vector<model::SegmentDigest> found, uint64_t size = kSize) {
    const auto names = index_->Doubt({"image", size, std::move(found)});
    EXPECT_TRUE(names.ok()) << names.status();
    return *names;
  }
  IndexRow RowOf(const std::string& path) { return *index_->Find(path).value(); }

  // Segment 2 is a hole.
  const std::vector<model::SegmentDigest> known_ = {{0, Of("zero")}, {1, Of("one")}};
  tests::TempDir dir_;
  std::unique_ptr<VolumeIndex> index_;
  IndexRow row_;
};

TEST_F(DoubtTest, OnlyTheSegmentThatDiffersIsInDoubt) {
  EXPECT_THAT(Doubt({{0, Of("zero")}, {1, Of("flipped")}}), ElementsAre("image"));
  EXPECT_EQ(index_->FindSegment(7, 0).value()->digest, Of("zero"));
  const SegmentRecord doubted = *index_->FindSegment(7, 1).value();
  EXPECT_EQ(doubted.digest, model::Digest{});
  EXPECT_THAT(doubted.blocks, IsEmpty());  // no delta against what is damaged
  EXPECT_EQ(RowOf("image").ctime_nanoseconds, kUnsettledCtime);
  // What is captured next goes by the segments only if the row agrees with them.
  EXPECT_EQ(RowOf("image").content, ContentOf({{0, Of("zero")}, {1, {}}}));
}

TEST_F(DoubtTest, ABaseTellsNothingOfWhatChangedAtDr) {
  Commit({PutBase{7, {"clone", kSize, row_.content, 9, 9}}});
  ASSERT_TRUE(index_->FindBase(7).value().has_value());
  Doubt({{0, Of("zero")}, {1, Of("one")}, {2, Of("noise")}});
  EXPECT_FALSE(index_->FindBase(7).value().has_value());
}

TEST_F(DoubtTest, WhatDrHasInAHoleAndAHoleThatDrHasAreInDoubt) {
  Doubt({{0, Of("zero")}, {2, Of("noise")}});
  EXPECT_EQ(index_->FindSegment(7, 0).value()->digest, Of("zero"));
  EXPECT_EQ(index_->FindSegment(7, 1).value()->digest, model::Digest{});
  EXPECT_EQ(index_->FindSegment(7, 2).value()->digest, model::Digest{});
}

TEST_F(DoubtTest, ItIsSentWholeWhereTheSegmentsDoNotTell) {
  const auto expect_whole = [&] {
    EXPECT_EQ(RowOf("image").content, model::Digest{});
    EXPECT_THAT(index_->ListSegmentDigests(7).value(), IsEmpty());
  };
  // DR has what the index says: its own record is wrong.
  Doubt(known_);
  expect_whole();
  SetUp();
  Doubt({{0, Of("zero")}}, kSize - 1);
  expect_whole();
  SetUp();
  ASSERT_TRUE(index_->Doubt({"image", kSize, std::nullopt}).ok());
  expect_whole();
}

TEST_F(DoubtTest, AllNamesOfTheFileAreLookedAt) {
  IndexRow other = row_;
  other.file = 3;
  Commit({PutRow{"image", other}, PutRow{"other name", other}});
  EXPECT_THAT(Doubt({{0, Of("flipped")}, {1, Of("one")}}), ElementsAre("image", "other name"));
  EXPECT_EQ(RowOf("other name").content, RowOf("image").content);
  EXPECT_EQ(RowOf("other name").ctime_nanoseconds, kUnsettledCtime);
  EXPECT_EQ(RowOf("other name").file, 3u);
}

TEST_F(DoubtTest, WhatIsNotThereOrNoFileIsLeftAlone) {
  IndexRow folder;
  folder.kind = model::FileKind::kDirectory;
  Commit({PutRow{"folder", folder}});
  EXPECT_THAT(index_->Doubt({"folder", 0, std::nullopt}).value(), IsEmpty());
  EXPECT_THAT(index_->Doubt({"nothing", 0, std::nullopt}).value(), IsEmpty());
  EXPECT_EQ(RowOf("folder"), folder);
}

}  // namespace
}  // namespace understudy::primary
