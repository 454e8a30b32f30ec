// Bases are worth keeping only as long as they cost nobody anything: when they are made, given up, and not used.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "agent-primary/capture/base_store.h"
#include "agent-primary/capture/extents_capture.h"
#include "core/os/clone_file.h"
#include "core/os/extents.h"
#include "tests/unit/agent-primary/ship/bases_fixture.h"

namespace understudy::primary {
namespace {

using ::testing::HasSubstr;

TEST_F(BasesTest, RoomIsWatchedWhetherAnythingIsReplicatedOrNot) {
  MakeImage("disk", 8 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  replicator_->ForgetSession();
  replicator_->TendBases();
  ASSERT_EQ(CountClones(), 1u);
  FillUp();
  replicator_->TendBases();
  EXPECT_EQ(CountClones(), 0u);
}

TEST_F(BasesTest, AnAgentThatNeverReachedDrWatchesTheRoomToo) {
  MakeImage("disk", 8 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  Start();
  replicator_->TendBases();
  ASSERT_EQ(CountClones(), 1u);
  FillUp();
  replicator_->TendBases();
  EXPECT_EQ(CountClones(), 0u);
}

TEST_F(BasesTest, WithoutReplicationBasesGoAfterSomeMinutes) {
  clock_ = &stepping_;
  Start();
  MakeImage("disk", 8 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  stepping_.Advance(2 * kBasesPatience);
  replicator_->TendBases();
  ASSERT_EQ(CountClones(), 1u) << "nothing has changed since";
  replicator_->ForgetSession();
  stepping_.Advance(kBasesPatience / 2);
  replicator_->TendBases();
  ASSERT_EQ(CountClones(), 1u) << "DR starts anew, perhaps";
  stepping_.Advance(kBasesPatience);
  replicator_->TendBases();
  EXPECT_EQ(CountClones(), 0u);
  Write("disk", kMebibyte);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(CountClones(), 1u) << "it goes on";
  ExpectEqual();
}

TEST_F(BasesTest, APausedVolumeHasNone) {
  MakeImage("disk", 8 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  replicator_->Pause(PauseReason::kOperator, 1);
  replicator_->TendBases();
  EXPECT_EQ(CountClones(), 0u);
}

TEST_F(BasesTest, ACaptureThatIsUnderWayWhenRoomRunsOutBeginsAgain) {
  MakeImage("disk", 16 * kMebibyte);
  uint64_t held_before = 0;
  sink_.on_data = [&] {
    FillUp();
    Write("disk", 0, 8 * kMebibyte);  // the clone keeps what was there
    ASSERT_TRUE(os::SyncFile(OpenFile("disk").get()).ok());
    held_before = std::filesystem::space(disk_->Path()).free;
    replicator_->TendBases();
  };
  const absl::Status ended = Sync();
  EXPECT_TRUE(absl::IsAborted(ended)) << ended;
  EXPECT_GE(std::filesystem::space(disk_->Path()).free, held_before + 6 * kMebibyte);
  EXPECT_EQ(CountClones(), 0u);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(CountClones(), 0u);
  EXPECT_THAT(replicator_->Status().strategy_reason, HasSubstr("room"));
  ExpectEqual();
}

TEST_F(BasesTest, ACopyThatCantBeReadKeepsNoFileBack) {
  MakeImage("disk", 16 * kMebibyte);
  for (const bool of_base : {false, true}) {
    if (of_base) {
      Write("disk", kMebibyte);
      Write("disk", 9 * kMebibyte);
    }
    sink_.on_data = [&] {
      for (const auto& clone : std::filesystem::directory_iterator(BasesFolder())) {
        std::filesystem::resize_file(clone.path(), 0);
      }
    };
    ASSERT_TRUE(Sync().ok());
    ExpectEqual();
  }
  Write("disk", 2 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  Write("disk", 3 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "extents");
  ExpectEqual();
}

TEST_F(BasesTest, ACaptureThatFailsLeavesNoCloneBehind) {
  MakeImage("disk", 8 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  sink_.on_data = [&] { replicas_.RaiseEpoch("web"); };  // the session ends before there is a base
  Write("disk", kMebibyte);
  EXPECT_FALSE(Sync().ok());
  EXPECT_EQ(CountClones(), 1u);
}

TEST_F(BasesTest, AFileThatRestsHoldsNothingElseUp) {
  clock_ = &stepping_;
  Start();
  MakeImage("disk", 8 * kMebibyte);
  MakeImage("small", kBlock);
  stepping_.step = absl::Milliseconds(100);  // what a clone seems to take
  ASSERT_TRUE(Sync().ok());
  stepping_.step = absl::ZeroDuration();
  const std::string before = Here("disk");
  for (const bool by_scan : {false, true}) {
    Write("disk", kMebibyte);
    Write("small", 0);
    if (by_scan) {
      replicator_->OnOverflow();
    } else {
      Hint("disk");
      Hint("small");
    }
    RunABit();
    EXPECT_TRUE(AtDr("small") == Here("small"));
    EXPECT_TRUE(AtDr("disk") == before) << "its writers waited a moment ago";
    EXPECT_EQ(replicator_->Status().dirty_paths, 1u);
  }
  stepping_.Advance(absl::Seconds(6));
  EXPECT_GT(replicator_->Status().lag_seconds, 5);
  RunABit();
  ExpectEqual();
  EXPECT_EQ(replicator_->Status().lag_seconds, 0);
}

TEST_F(BasesTest, WhatWritersDontFeelCallsForNoRest) {
  MakeImage("disk", 8 * kMebibyte);
  const os::Fd folder(open(At("").c_str(), O_RDONLY | O_DIRECTORY));
  auto store = BaseStore::Open(disk_->Path() + "/export", "web", folder.get(), 0, stepping_).value();
  const auto rest = [&] {
    EXPECT_TRUE(store->Freeze(OpenFile("disk").get(), 7).ok());
    return store->RestsUntil(7) - stepping_.Monotonic();
  };
  stepping_.step = kShortHold;
  EXPECT_LE(rest(), absl::ZeroDuration());
  stepping_.step = 3 * kShortHold;
  EXPECT_GE(rest(), (kFreezeShare - 3) * stepping_.step);
}

// The clone that a capture makes is no reason to leave the file out of this capture.
TEST_F(BasesTest, AHintIsEnough) {
  clock_ = &stepping_;
  Start();
  MakeImage("disk", 8 * kMebibyte);
  stepping_.step = absl::Milliseconds(1);
  ASSERT_TRUE(Sync().ok());
  stepping_.Advance(absl::Minutes(5));
  Write("disk", kMebibyte);
  Hint("disk");
  ASSERT_TRUE(replicator_->Run(sink_, {}).ok());
  EXPECT_EQ(Rung(), "extents");
  ExpectEqual();
}

TEST_F(BasesTest, WhatLeavesOutAFileThatRestsIsNoStateOfTheVolume) {
  clock_ = &stepping_;
  Start();
  MakeImage("disk", 8 * kMebibyte);
  MakeImage("small", kBlock);
  stepping_.step =
      absl::Seconds(1) / 2;  // it rests for some 25 s, and for more each time that nobody can wait for that
  ASSERT_TRUE(Sync().ok());
  EXPECT_TRUE(sink_.last_was_whole);
  ASSERT_TRUE(Sync().ok());
  Write("disk", kMebibyte);
  ASSERT_TRUE(Sync().ok());
  Write("disk", 2 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  stepping_.step = absl::ZeroDuration();
  const std::string before = AtDr("disk");
  Write("disk", 3 * kMebibyte);
  Hint("disk");
  for (int commit = 0; commit < 2; ++commit) {
    Write("small", 0);
    Hint("small");
    RunABit();
    EXPECT_TRUE(AtDr("small") == Here("small"));
    EXPECT_FALSE(sink_.last_was_whole) << commit;
    EXPECT_TRUE(AtDr("disk") == before);
  }
  stepping_.Advance(kLongestPartial - absl::Seconds(1));
  Hint("small");
  RunABit();
  EXPECT_TRUE(AtDr("disk") == before) << "it still rests";
  stepping_.Advance(absl::Seconds(2));
  Write("small", 0);
  Hint("small");
  RunABit();
  ExpectEqual();
  EXPECT_TRUE(sink_.last_was_whole) << "all of it, after a minute at most";
}

TEST_F(BasesTest, WhoeverWaitsIsntKeptWaitingByARest) {
  clock_ = &stepping_;
  Start();
  MakeImage("disk", 8 * kMebibyte);
  stepping_.step = absl::Milliseconds(100);
  ASSERT_TRUE(Sync().ok());
  // Also one that failed counts.
  replicas_.FailNextSubmit("web", absl::UnavailableError("the link broke"));
  Write("disk", 0);
  stepping_.Advance(absl::Minutes(1));
  Hint("disk");
  EXPECT_FALSE(replicator_->Run(sink_, {}).ok());
  stepping_.step = absl::ZeroDuration();
  const std::string before = AtDr("disk");
  stepping_.Advance(absl::Seconds(1));
  replicator_->OnOverflow();
  RunABit();
  EXPECT_TRUE(AtDr("disk") == before);
  ASSERT_TRUE(Sync().ok());
  ExpectEqual();
}

TEST_F(BasesTest, AFileOfSeveralNamesIsFrozenOnce) {
  MakeImage("a", 8 * kMebibyte);
  for (const char* const name : {"b", "c"}) std::filesystem::create_hard_link(At("a"), At(name));
  size_t clones = 0;
  sink_.on_data = [&] { clones = CountClones(); };
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(clones, 1u);
  Write("b", kMebibyte);
  sink_.on_data = [&] { clones = CountClones(); };
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(clones, 2u) << "and the base";
  EXPECT_EQ(Rung(), "extents");
  ExpectEqual();
}

TEST_F(BasesTest, AFilesystemThatIsMountedLaterHasThemToo) {
  MakeImage("disk", 8 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  replicator_.reset();
  ASSERT_TRUE(disk_->Unmount().ok());
  std::filesystem::create_directories(At(""));
  Start();
  EXPECT_FALSE(Sync().ok()) << "it isn't the volume's folder";
  EXPECT_FALSE(std::filesystem::exists(disk_->Path() + "/.understudy"));
  std::filesystem::remove_all(disk_->Path() + "/export");
  ASSERT_TRUE(disk_->Mount().ok());
  ASSERT_TRUE(Sync().ok());
  Write("disk", kMebibyte);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "extents");
  EXPECT_EQ(CountClones(), 1u);
  ExpectEqual();
}

TEST_F(BasesTest, ABaseThatSomebodyExchangedIsNone) {
  MakeImage("disk", 8 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  for (const auto& clone : std::filesystem::directory_iterator(BasesFolder())) {
    const std::string other = disk_->Path() + "/other";
    std::ofstream(other) << Noise(8 * kMebibyte);
    std::filesystem::rename(other, clone.path());
  }
  Write("disk", kMebibyte);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "rsync");
  ExpectEqual();
}

TEST_F(BasesTest, AFileInTooManyPiecesIsLeftAloneForLongerAndLonger) {
  constexpr uint64_t kPieces = 55'000;
  const os::Fd file = OpenFile("disk");
  ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(kPieces * 2 * kBlock)), 0);
  for (uint64_t at = 0; at < kPieces * 2 * kBlock; at += 2 * kBlock) {
    ASSERT_TRUE(os::WriteAt(file.get(), at, "x").ok());
  }
  const os::Fd folder(open(At("").c_str(), O_RDONLY | O_DIRECTORY));
  auto store = BaseStore::Open(disk_->Path() + "/export", "web", folder.get(), 0, stepping_).value();
  const auto freeze = [&] { return store->Freeze(file.get(), 7).status(); };
  const absl::Status refused = freeze();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("its 55000 extents are so short"));
  stepping_.Advance(kCloneRest + absl::Seconds(1));
  EXPECT_FALSE(freeze().ok());
  ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(kPieces * 2 * kBlock * 2 / 3)), 0);
  ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(kPieces * 4 * kBlock)), 0);
  stepping_.Advance(kCloneRest + absl::Seconds(1));
  EXPECT_FALSE(freeze().ok()) << "twice as long, the second time";
  stepping_.Advance(kCloneRest);
  EXPECT_TRUE(freeze().ok());
}

TEST_F(BasesTest, AFileThatWasDefragmentedIsntLeftAloneAnyMore) {
  constexpr uint64_t kPieces = 2'000;
  const os::Fd file = OpenFile("disk");
  ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(kPieces * 2 * kBlock)), 0);
  for (uint64_t at = 0; at < kPieces * 2 * kBlock; at += 2 * kBlock) {
    ASSERT_TRUE(os::WriteAt(file.get(), at, "x").ok());
  }
  const os::Fd folder(open(At("").c_str(), O_RDONLY | O_DIRECTORY));
  auto store = BaseStore::Open(disk_->Path() + "/export", "web", folder.get(), 0, stepping_).value();
  EXPECT_FALSE(store->Freeze(file.get(), 7).ok());
  ASSERT_EQ(ftruncate(file.get(), 0), 0);
  ASSERT_TRUE(os::WriteAt(file.get(), 0, Noise(8 * kMebibyte)).ok());
  EXPECT_TRUE(store->Freeze(file.get(), 7).ok());
}

// What is read as it stands the next time needn't wait for that.
TEST_F(BasesTest, ACloneThatTookTooLongIsFollowedByNoRest) {
  MakeImage("disk", 8 * kMebibyte);
  const os::Fd folder(open(At("").c_str(), O_RDONLY | O_DIRECTORY));
  auto store = BaseStore::Open(disk_->Path() + "/export", "web", folder.get(), 0, stepping_).value();
  stepping_.step = absl::Seconds(20);
  ASSERT_TRUE(store->Freeze(OpenFile("disk").get(), 7).ok());
  EXPECT_EQ(store->RestsUntil(7), -absl::InfiniteDuration());
  EXPECT_FALSE(store->Freeze(OpenFile("disk").get(), 7).ok());
}

// A clone that waited for something else says nothing of the next ones.
TEST_F(BasesTest, OneSlowCloneIsntHeldAgainstTheOthersForGood) {
  constexpr uint64_t kPieces = 25'000;
  const os::Fd file = OpenFile("disk");
  ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(kPieces * 8 * kBlock)), 0);
  for (uint64_t at = 0; at < kPieces * 8 * kBlock; at += 8 * kBlock) {
    ASSERT_TRUE(os::WriteAt(file.get(), at, "x").ok());
  }
  const os::Fd folder(open(At("").c_str(), O_RDONLY | O_DIRECTORY));
  auto store = BaseStore::Open(disk_->Path() + "/export", "web", folder.get(), 0, stepping_).value();
  const auto freeze = [&] { return store->Freeze(file.get(), 7).status(); };
  stepping_.step = absl::Seconds(20);
  ASSERT_TRUE(freeze().ok());
  store = BaseStore::Open(disk_->Path() + "/export", "web", folder.get(), 0, stepping_).value();
  ASSERT_TRUE(freeze().ok());
  stepping_.step = absl::ZeroDuration();
  stepping_.Advance(2 * kCloneRest);
  ASSERT_TRUE(freeze().ok()) << "by its extents alone it takes half a second";
  EXPECT_TRUE(freeze().ok());
}

// DR takes so many ranges of a file and no more.
TEST_F(BasesTest, ManyChangesTravelInPiecesThatDrTakes) {
  constexpr uint64_t kMost = 64;
  MakeImage("disk", 64 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  const std::string before = Here("disk");
  for (uint64_t at = 0; at < 64 * kMebibyte; at += 64 * 1024) Write("disk", at);
  const os::Fd base(open(std::filesystem::directory_iterator(BasesFolder())->path().c_str(), O_RDONLY));
  const os::Fd now(open((disk_->Path() + "/now").c_str(), O_RDWR | O_CREAT, 0600));
  ASSERT_EQ(os::CloneFile(OpenFile("disk").get(), now.get()), 0);
  replicas_.SetMostRanges(kMost);
  auto index = VolumeIndex::Open(state_.File("other.db")).value();
  const os::Root root = os::Root::Open(At("")).value();
  const model::VolumeName volume = "web";
  IndexRow row;
  row.inode = 7;
  row.size = before.size();
  row.content = delta::DigestOfContent(before);
  const CaptureRequest request{.root = root,
                               .index = *index,
                               .sink = sink_,
                               .volume = volume,
                               .path = "disk",
                               .base = IndexEntry{"disk", row},
                               .slot = 1,
                               .most_ranges = kMost};
  CapturedFile captured;
  captured.stat.inode = 7;
  const absl::StatusOr<ExtentsOutcome> outcome =
      CaptureByExtents(request, {base.get(), now.get(), before.size()}, captured);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(captured.digest, delta::DigestOfContent(Here("disk")));
  const ReplicatorStatus status = replicator_->Status();
  model::Commit commit;
  commit.volume = "web";
  commit.epoch = status.epoch;
  commit.base_sequence = status.sequence;
  commit.sequence = status.sequence + 1;
  commit.id = "by-hand";
  model::Metadata metadata;
  metadata.mode = 0600;
  commit.operations = {model::Patch{"disk", metadata, before.size(), captured.digest, 1}};
  const absl::Status submitted = sink_.Submit(commit);
  ASSERT_TRUE(submitted.ok()) << submitted;
  EXPECT_TRUE(AtDr("disk") == Here("disk"));
}

class BtrfsBasesTest : public BasesTest {
 protected:
  void SetUp() override { SetUpOn("btrfs"); }
  os::Fd OpenWithFlag(const std::string& path, int flag) {
    os::Fd file = OpenFile(path);
    int flags = 0;
    EXPECT_EQ(ioctl(file.get(), FS_IOC_GETFLAGS, &flags), 0);
    flags |= flag;
    EXPECT_EQ(ioctl(file.get(), FS_IOC_SETFLAGS, &flags), 0);
    return file;
  }
};

TEST_F(BtrfsBasesTest, AFileThatIsntCopiedOnWriteHasOne) {
  const os::Fd file = OpenWithFlag("disk", FS_NOCOW_FL);
  ASSERT_TRUE(os::WriteAt(file.get(), 0, Noise(8 * kMebibyte)).ok());
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(CountClones(), 1u);
  Write("disk", kMebibyte);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "extents");
  ExpectEqual();
}

TEST_F(BtrfsBasesTest, ACompressedFileIsReadAsAWhole) {
  const os::Fd file = OpenWithFlag("disk", FS_COMPR_FL);
  ASSERT_TRUE(os::WriteAt(file.get(), 0, std::string(8 * kMebibyte, 'x')).ok());
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(CountClones(), 0u);
  EXPECT_THAT(replicator_->Status().strategy_reason, HasSubstr("compressed"));
  ExpectEqual();
}

class OtherBasesTest : public BasesTest {
 protected:
  void SetUp() override { SetUpOn("ext4"); }
};

TEST_F(OtherBasesTest, OtherFilesystemsHaveNoneAndItIsSaidWhy) {
  MakeImage("disk", 8 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  EXPECT_FALSE(std::filesystem::exists(disk_->Path() + "/.understudy"));
  EXPECT_THAT(replicator_->Status().strategy_reason, HasSubstr("neither XFS nor btrfs"));
  const os::Root here = os::Root::Open("/dev/shm").value();
  EXPECT_TRUE(absl::IsUnimplemented(BaseStore::Open("/dev/shm", "web", here.fd(), 0, Clock::System()).status()));
}

}  // namespace
}  // namespace understudy::primary
