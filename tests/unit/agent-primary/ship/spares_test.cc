// Of a base that was replaced there stays a spare, over which the next clone is made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "agent-primary/capture/base_store.h"
#include "core/os/clone_file.h"
#include "core/os/extents.h"
#include "tests/unit/agent-primary/ship/bases_fixture.h"

namespace understudy::primary {
namespace {

using ::testing::HasSubstr;

// A file in many pieces.
class SpareTest : public BasesTest {
 protected:
  static constexpr uint64_t kPieces = 2'000;
  static constexpr uint64_t kSpacing = 8 * kBlock;
  void MakePieces() {
    const os::Fd file = OpenFile("disk");
    ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(kPieces * kSpacing)), 0);
    for (uint64_t piece = 0; piece < kPieces; ++piece) {
      ASSERT_TRUE(os::WriteAt(file.get(), piece * kSpacing, "piece").ok());
    }
  }
  void ChangeAndSync(uint64_t piece) {
    Write("disk", piece * kSpacing);
    ASSERT_TRUE(Sync().ok());
    EXPECT_EQ(Rung(), "extents");
  }
  std::set<uint64_t> Clones() const {
    std::set<uint64_t> inodes;
    for (const auto& clone : std::filesystem::directory_iterator(BasesFolder())) {
      struct stat stat {};
      EXPECT_EQ(::stat(clone.path().c_str(), &stat), 0);
      inodes.insert(stat.st_ino);
    }
    return inodes;
  }
};

TEST_F(SpareTest, OneCloneIsMadeOverTheOneBeforeTheNewest) {
  MakePieces();
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(CountClones(), 1u);
  ChangeAndSync(1);
  const std::set<uint64_t> two = Clones();
  EXPECT_EQ(two.size(), 2u);
  for (uint64_t piece = 2; piece < 8; ++piece) {
    ChangeAndSync(piece * 100);
    EXPECT_EQ(Clones(), two);
  }
  ExpectEqual();
}

// Else it would hold what was overwritten before, and the next clone would bring that in, too, while writers wait.
TEST_F(SpareTest, ASpareSharesAllWithTheBase) {
  MakePieces();
  ASSERT_TRUE(Sync().ok());
  ChangeAndSync(1);
  ChangeAndSync(2);
  std::vector<std::vector<uint64_t>> places;
  for (const auto& clone : std::filesystem::directory_iterator(BasesFolder())) {
    const os::Fd file(open(clone.path().c_str(), O_RDONLY));
    os::ExtentReader reader(file.get(), kPieces * kSpacing);
    std::vector<uint64_t>& of_clone = places.emplace_back();
    for (auto extent = reader.Next().value(); extent.has_value(); extent = reader.Next().value()) {
      of_clone.push_back(extent->place);
    }
  }
  ASSERT_EQ(places.size(), 2u);
  EXPECT_TRUE(places[0] == places[1]);
}

TEST_F(SpareTest, ACommitThatFailedLeavesItASpare) {
  MakePieces();
  ASSERT_TRUE(Sync().ok());
  ChangeAndSync(1);
  ChangeAndSync(2);
  const std::set<uint64_t> two = Clones();
  for (uint64_t piece = 10; piece < 13; ++piece) {
    Write("disk", piece * kSpacing);
    replicas_.FailNextSubmit("web", absl::UnavailableError("the link broke"));
    EXPECT_FALSE(Sync().ok());
    ChangeAndSync(piece + 100);
    ExpectEqual();
  }
  ChangeAndSync(5);
  EXPECT_EQ(CountClones(), 2u);
  ExpectEqual();
}

TEST_F(SpareTest, AFileThatShrinksOrGrowsHasNothingOfBefore) {
  MakePieces();
  ASSERT_TRUE(Sync().ok());
  ChangeAndSync(1);
  ChangeAndSync(2);
  const os::Fd file = OpenFile("disk");
  for (const uint64_t pieces : {kPieces / 2, kPieces, kPieces / 2 + 1, kPieces + 100}) {
    ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(pieces * kSpacing - 5)), 0);
    ChangeAndSync(pieces / 3);
    ExpectEqual();
  }
}

TEST_F(SpareTest, SparesGoWithTheirBases) {
  MakePieces();
  ASSERT_TRUE(Sync().ok());
  ChangeAndSync(1);
  ASSERT_EQ(CountClones(), 2u);
  std::filesystem::remove(At("disk"));
  MakeImage("other", kMebibyte);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(CountClones(), 1u) << "of the other";
}

TEST_F(SpareTest, WhereExtentsAreVeryShortThereIsNoBaseAnyMore) {
  MakePieces();
  ASSERT_TRUE(Sync().ok());
  ChangeAndSync(1);
  ChangeAndSync(2);
  const os::Fd file = OpenFile("disk");
  for (uint64_t piece = 0; piece < kPieces; ++piece) {  // three more in each
    for (const uint64_t within : {2 * kBlock, 4 * kBlock, 6 * kBlock}) {
      ASSERT_TRUE(os::WriteAt(file.get(), piece * kSpacing + within, "x").ok());
    }
  }
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(CountClones(), 0u);
  EXPECT_THAT(replicator_->Status().strategy_reason, HasSubstr("extents are so short"));
  Write("disk", kBlock);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "blocks");
  EXPECT_EQ(CountClones(), 0u);
  ExpectEqual();
}

}  // namespace
}  // namespace understudy::primary
