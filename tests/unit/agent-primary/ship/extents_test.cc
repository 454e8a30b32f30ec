// The `extents` rung on real filesystems: what travels is what changed, and what DR has is what the file was.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <random>
#include <utility>

#include "agent-primary/ship/volume_replicator.h"
#include "core/base/clock.h"
#include "core/delta/content_digest.h"
#include "core/model/path.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"
#include "tests/support/loop_mount.h"
#include "tests/support/memory_sink.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent-primary/ship/run_to_barrier.h"

namespace understudy::primary {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using tests::LoopMount;

constexpr uint64_t kMebibyte = 1024 * 1024;
constexpr uint64_t kBlock = delta::kBlockBytes;

// Holds each commit to its digests, which DR itself takes on trust when a file is patched.
class CheckingSink : public tests::MemorySink {
 public:
  explicit CheckingSink(tests::MemoryReplicas& replicas) : MemorySink(replicas), replicas_(replicas) {}
  absl::Status StageData(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                         std::string_view data) override {
    bytes_ += data.size();
    return MemorySink::StageData(volume, slot, offset, data);
  }
  absl::Status Submit(const model::Commit& commit) override {
    RETURN_IF_ERROR(MemorySink::Submit(commit));
    const tests::MemoryReplicas::Tree tree = replicas_.TreeOf(commit.volume);
    for (const model::Operation& operation : commit.operations) {
      const auto check = [&](const std::string& path, const model::Digest& digest) {
        const auto found = tree.find(model::Key(path));
        // A later operation of the commit may have given the name to another file.
        if (found == tree.end()) return;
        EXPECT_EQ(delta::DigestOfContent(found->second.content), digest) << path;
      };
      if (const auto* put = std::get_if<model::Put>(&operation)) check(put->path, put->digest);
      if (const auto* patch = std::get_if<model::Patch>(&operation)) check(patch->path, patch->digest);
    }
    return absl::OkStatus();
  }
  uint64_t TakeBytes() { return std::exchange(bytes_, 0); }

 private:
  tests::MemoryReplicas& replicas_;
  uint64_t bytes_ = 0;
};

class ExtentsTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto disk = LoopMount::Make(GetParam(), 600);
    if (absl::IsUnimplemented(disk.status())) GTEST_SKIP() << disk.status();
    ASSERT_TRUE(disk.ok()) << disk.status();
    disk_ = *std::move(disk);
    std::filesystem::create_directories(At(""));
    Start();
  }
  bool reflinks() const { return GetParam() != std::string_view("ext4"); }

  std::string At(const std::string& path) const { return disk_->Path() + "/export/web/" + path; }
  std::string BasesFolder() const { return disk_->Path() + "/.understudy/bases-web"; }
  size_t CountClones() const {
    if (!std::filesystem::exists(BasesFolder())) return 0;
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(BasesFolder()), {}));
  }
  // Also what a new process does.
  void Start() {
    replicator_.reset();
    replicator_ = VolumeReplicator::Open("web", disk_->Path() + "/export/web", "/dr/web", state_.File("web.db"),
                                         {.times = {absl::ZeroDuration(), absl::ZeroDuration()},
                                          .export_path = disk_->Path() + "/export",
                                          .least_frozen_bytes = kMebibyte},
                                         Clock::System())
                      .value();
  }
  absl::Status Sync() { return ScanToBarrier(*replicator_, sink_, /*published=*/false); }
  std::string Rung() const { return replicator_->Status().strategy; }

  os::Fd OpenFile(const std::string& path) const { return os::Fd(open(At(path).c_str(), O_RDWR | O_CREAT, 0600)); }
  std::string Noise(size_t length) {
    std::string bytes(length, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }
  void MakeImage(const std::string& path, uint64_t bytes) {
    const os::Fd file = OpenFile(path);
    for (uint64_t at = 0; at < bytes; at += kMebibyte) {
      const auto length = static_cast<size_t>(std::min(kMebibyte, bytes - at));
      ASSERT_TRUE(os::WriteAt(file.get(), at, Noise(length)).ok());
    }
  }
  uint64_t Below(uint64_t bound) { return random_() % bound; }

  void ExpectEqual() {
    std::set<std::string> here;
    const std::string root = At("");
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      here.insert(std::filesystem::relative(entry.path(), root).string());
    }
    std::set<std::string> there;
    for (const auto& [key, entry] : replicas_.TreeOf("web")) {
      const std::string path = model::PathOfKey(key);
      if (path.empty()) continue;
      there.insert(path);
      if (!here.contains(path) || entry.kind != model::FileKind::kRegular) continue;
      const os::Fd file(open(At(path).c_str(), O_RDONLY));
      const auto size = static_cast<size_t>(std::filesystem::file_size(At(path)));
      ASSERT_EQ(entry.content.size(), size) << path;
      EXPECT_TRUE(entry.content == os::ReadAt(file.get(), 0, size).value()) << path << " has other content";
    }
    EXPECT_EQ(here, there);
  }

  std::unique_ptr<LoopMount> disk_;
  const tests::TempDir state_;
  tests::MemoryReplicas replicas_{"/dr"};
  CheckingSink sink_{replicas_};
  std::unique_ptr<VolumeReplicator> replicator_;
  std::mt19937_64 random_{20261130};
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
  EXPECT_EQ(Rung(), reflinks() ? "extents" : "rsync");
  if (reflinks()) {
    EXPECT_EQ(sink_.TakeBytes(), blocks.size() * kBlock);
    EXPECT_EQ(CountClones(), 1u) << "the base before is of no use";
  }
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
  const os::Fd ballast(open((disk_->Path() + "/ballast").c_str(), O_RDWR | O_CREAT, 0600));
  const uint64_t whole = std::filesystem::space(disk_->Path()).capacity;
  off_t taken = 0;
  for (uint64_t free = whole; free >= whole / 22; free = std::filesystem::space(disk_->Path()).available) {
    const auto more = static_cast<off_t>(std::clamp<uint64_t>(free / 2, kMebibyte, free));
    ASSERT_EQ(fallocate(ballast.get(), 0, taken, more), 0) << strerror(errno);
    taken += more;
    ASSERT_EQ(syncfs(ballast.get()), 0);
  }
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
