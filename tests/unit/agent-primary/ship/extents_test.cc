// The `extents` rung on real filesystems: what travels is what changed, and what DR has is what the file was.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "tests/unit/agent-primary/ship/extents_fixture.h"

namespace understudy::primary {
namespace {

class ExtentsTest : public ExtentsFixture, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override { SetUpOn(GetParam()); }
  bool reflinks() const { return GetParam() != std::string_view("ext4"); }
};

TEST_P(ExtentsTest, WhatTravelsIsWhatChanged) {
  MakeImage("disk", 64 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "whole");
  EXPECT_EQ(CountClones(), reflinks() ? 1u : 0u);
  const os::Fd file = OpenFile("disk");
  std::set<uint64_t> blocks;
  while (blocks.size() < 100) blocks.insert(Below(64 * kMebibyte / kBlock));
  for (const uint64_t block : blocks) ASSERT_TRUE(os::WriteAt(file.get(), block * kBlock, Noise(kBlock)).ok());
  sink_.TakeBytes();
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), reflinks() ? "extents" : "blocks");
  EXPECT_EQ(sink_.TakeBytes(), blocks.size() * kBlock);
  EXPECT_EQ(sink_.TakeAsked(), 0u);
  EXPECT_EQ(CountClones(), reflinks() ? 1u : 0u) << "the base before is of no use";
  ExpectEqual();
}

TEST_P(ExtentsTest, BytesThatWereWrittenAgainAsTheyWereDontTravel) {
  MakeImage("disk", 8 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  const os::Fd file = OpenFile("disk");
  ASSERT_TRUE(os::WriteAt(file.get(), kMebibyte, os::ReadAt(file.get(), kMebibyte, kMebibyte).value()).ok());
  sink_.TakeBytes();
  const model::Sequence before = replicator_->Status().sequence;
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(sink_.TakeBytes(), 0u);
  EXPECT_EQ(replicator_->Status().sequence, before + 1) << "its times";
  ExpectEqual();
}

TEST_P(ExtentsTest, RoomThatWasNeverWrittenToIsZeros) {
  const os::Fd file = OpenFile("disk");
  ASSERT_EQ(fallocate(file.get(), 0, 0, 32 * kMebibyte), 0);
  ASSERT_TRUE(os::WriteAt(file.get(), 5 * kMebibyte, Noise(kMebibyte)).ok());
  ASSERT_TRUE(Sync().ok());
  ASSERT_TRUE(os::WriteAt(file.get(), 20 * kMebibyte, Noise(3 * kBlock)).ok());
  ASSERT_EQ(fallocate(file.get(), FALLOC_FL_ZERO_RANGE, 5 * kMebibyte, kMebibyte / 2), 0);
  sink_.TakeBytes();
  ASSERT_TRUE(Sync().ok());
  if (reflinks()) {
    EXPECT_EQ(sink_.TakeBytes(), 3 * kBlock);
  }
  ExpectEqual();
}

TEST_P(ExtentsTest, ABaseOutlastsARestartAndItsLossCostsOnlyTime) {
  if (!reflinks()) GTEST_SKIP() << "no bases on " << GetParam();
  MakeImage("disk", 16 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  const auto write = [&](uint64_t at) { EXPECT_TRUE(os::WriteAt(OpenFile("disk").get(), at, Noise(kBlock)).ok()); };
  write(kMebibyte);
  Start();
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "extents");
  // Gone, and cut.
  for (const bool cut : {false, true}) {
    for (const auto& clone : std::filesystem::directory_iterator(BasesFolder())) {
      if (cut) {
        std::filesystem::resize_file(clone.path(), kMebibyte);
      } else {
        std::filesystem::remove(clone.path());
      }
    }
    write(2 * kMebibyte);
    Start();
    ASSERT_TRUE(Sync().ok());
    EXPECT_EQ(Rung(), "rsync");
    ExpectEqual();
    write(3 * kMebibyte);
    ASSERT_TRUE(Sync().ok());
    EXPECT_EQ(Rung(), "extents") << "a new base was made";
    ExpectEqual();
  }
}

TEST_P(ExtentsTest, ACommitThatFailedLeavesNoBase) {
  if (!reflinks()) GTEST_SKIP() << "no bases on " << GetParam();
  MakeImage("disk", 8 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(os::WriteAt(OpenFile("disk").get(), Below(2000) * kBlock, Noise(kBlock)).ok());
    replicas_.FailNextSubmit("web", absl::UnavailableError("the link broke"));
    EXPECT_FALSE(Sync().ok());
  }
  Start();
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "extents");
  EXPECT_EQ(CountClones(), 1u);
  ExpectEqual();
}

TEST_P(ExtentsTest, WhatGoesTakesItsBaseAlong) {
  if (!reflinks()) GTEST_SKIP() << "no bases on " << GetParam();
  std::filesystem::create_directories(At("folder"));
  for (const char* const file : {"a", "b", "folder/c", "d"}) MakeImage(file, kMebibyte);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(CountClones(), 4u);
  std::filesystem::remove(At("a"));
  std::filesystem::remove_all(At("folder"));
  std::filesystem::resize_file(At("b"), 100);  // small ones need none
  ASSERT_TRUE(Sync().ok());
  MakeImage("d", 2 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(CountClones(), 1u);
  ExpectEqual();
  replicator_.reset();
  ASSERT_TRUE(BaseStore::Discard(disk_->Path() + "/export", "web").ok());
  EXPECT_FALSE(std::filesystem::exists(BasesFolder()));
  ASSERT_TRUE(BaseStore::Discard(disk_->Path() + "/export", "web").ok()) << "nothing there is fine";
}

TEST_P(ExtentsTest, WithoutRoomThereAreNoBases) {
  if (!reflinks()) GTEST_SKIP() << "no bases on " << GetParam();
  MakeImage("disk", 8 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  ASSERT_EQ(CountClones(), 1u);
  FillUp();
  ASSERT_TRUE(os::WriteAt(OpenFile("disk").get(), 5 * kBlock, Noise(kBlock)).ok());
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "rsync");
  EXPECT_EQ(CountClones(), 0u) << "they hold what is missing";
  ExpectEqual();
}

// What a power cut leaves of a clone is all of it, or no base: else what changed since would be told by a wrong one.
TEST_P(ExtentsTest, APowerCutLeavesNoWrongBase) {
  if (GetParam() != std::string_view("xfs")) GTEST_SKIP() << "power is cut on xfs";
  MakeImage("disk", 16 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  for (int cut = 0; cut < 5; ++cut) {
    {
      const os::Fd file = OpenFile("disk");
      for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(os::WriteAt(file.get(), Below(4096) * kBlock, Noise(kBlock)).ok());
      }
      // On the disk, so that the file is after the cut what it was before.
      ASSERT_TRUE(os::SyncFile(file.get()).ok());
    }
    ASSERT_TRUE(Sync().ok());
    replicator_.reset();
    ASSERT_TRUE(disk_->CutPower().ok());
    ASSERT_TRUE(disk_->Unmount().ok());
    ASSERT_TRUE(disk_->Mount().ok());
    Start();
    ASSERT_TRUE(os::WriteAt(OpenFile("disk").get(), Below(4096) * kBlock, Noise(kBlock)).ok());
    sink_.TakeBytes();
    ASSERT_TRUE(Sync().ok());
    EXPECT_EQ(Rung(), "extents") << "the base outlasts the cut";
    EXPECT_LE(sink_.TakeBytes(), 21 * kBlock);
    ExpectEqual();
  }
}

class HistoryTest : public ExtentsTest {
 protected:
  static constexpr uint64_t kMaxBytes = 12 * kMebibyte;

  std::string Any() { return std::array{"a", "b", "folder/c"}[Below(3)]; }

  // One thing that a VM, its administrator or the filesystem's tools do to a disk image.
  void Step() {
    const std::string path = Any();
    const os::Fd file = OpenFile(path);
    ASSERT_TRUE(file.valid());
    const uint64_t size = std::filesystem::file_size(At(path));
    const uint64_t offset = Below(size + 1);
    const uint64_t length =
        std::min(1 + Below(Below(4) == 0 ? kMebibyte : 20'000), kMaxBytes - std::min(offset, kMaxBytes - 1));
    const uint64_t aligned = offset / kBlock * kBlock;
    const auto at = static_cast<off_t>(offset);
    const auto take = [&](int result) { (void)result; };  // a filesystem needn't be able to do all of them
    switch (Below(14)) {
      case 0:
        take(ftruncate(file.get(), static_cast<off_t>(Below(kMaxBytes))));
        return;
      case 1:
        take(fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, static_cast<off_t>(length)));
        return;
      case 2:
        take(fallocate(file.get(), FALLOC_FL_ZERO_RANGE, at, static_cast<off_t>(length)));
        return;
      case 3:
        take(fallocate(file.get(), Below(2) == 0 ? FALLOC_FL_KEEP_SIZE : 0, at, static_cast<off_t>(length)));
        return;
      case 4:
        take(fallocate(file.get(), FALLOC_FL_COLLAPSE_RANGE, static_cast<off_t>(aligned), kBlock));
        return;
      case 5:
        if (size + kBlock <= kMaxBytes) {
          take(fallocate(file.get(), FALLOC_FL_INSERT_RANGE, static_cast<off_t>(aligned), kBlock));
        }
        return;
      case 6: {  // blocks of another file
        const os::Fd other = OpenFile(Any());
        file_clone_range range{other.get(), Below(1000) * kBlock, (1 + Below(50)) * kBlock, aligned};
        take(ioctl(file.get(), FICLONERANGE, &range));
        return;
      }
      case 7: {
        if (size == 0) return;
        void* const map = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
        ASSERT_NE(map, MAP_FAILED);
        const std::string bytes = Noise(static_cast<size_t>(std::min(length, size - std::min(offset, size))));
        std::copy(bytes.begin(), bytes.end(), static_cast<char*>(map) + std::min(offset, size));
        ASSERT_EQ(munmap(map, size), 0);
        return;
      }
      case 8:
        ASSERT_EQ(rename(At(path).c_str(), At(Any()).c_str()), 0);
        return;
      case 9:
        take(link(At(path).c_str(), At("linked").c_str()) == 0 ? 0 : unlink(At("linked").c_str()));
        return;
      case 10:
        ASSERT_EQ(unlink(At(path).c_str()), 0);
        return;
      case 11: {
        ASSERT_TRUE(os::WriteAt(file.get(), offset, std::string(length, '\0')).ok());
        return;
      }
      default:
        ASSERT_TRUE(os::WriteAt(file.get(), offset, Noise(length)).ok());
    }
  }
};

TEST_P(HistoryTest, DrHasWhatTheFilesWereWhateverIsDoneToThem) {
  const char* const wanted = getenv("UNDERSTUDY_EXTENT_HISTORIES");
  const int histories = wanted != nullptr ? atoi(wanted) : 4;
  std::filesystem::create_directories(At("folder"));
  uint64_t by_extents = 0;
  for (int history = 0; history < histories; ++history) {
    random_.seed(static_cast<uint64_t>(history));
    for (const char* const file : {"a", "b", "folder/c"}) MakeImage(file, Below(8 * kMebibyte));
    for (int commit = 0; commit < 12; ++commit) {
      const uint64_t steps = 1 + Below(8);
      for (uint64_t step = 0; step < steps; ++step) Step();
      if (Below(6) == 0) {
        replicas_.FailNextSubmit("web", absl::UnavailableError("the link broke"));
        (void)Sync();
      }
      if (Below(6) == 0) Start();
      ASSERT_TRUE(Sync().ok());
      by_extents += Rung() == "extents" ? 1 : 0;
      ExpectEqual();
      if (HasFailure()) FAIL() << "history " << history << ", commit " << commit;
    }
  }
  EXPECT_GT(by_extents, static_cast<uint64_t>(histories));
}

INSTANTIATE_TEST_SUITE_P(Filesystems, ExtentsTest, ::testing::Values("xfs", "btrfs", "ext4"));
INSTANTIATE_TEST_SUITE_P(Filesystems, HistoryTest, ::testing::Values("xfs", "btrfs"));

}  // namespace
}  // namespace understudy::primary
