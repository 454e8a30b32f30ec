// The `blocks` and `rsync` rungs on a filesystem without reflinks: what travels, what DR is asked, and that DR has what
// the file was.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <set>

#include "agent-primary/capture/file_capture.h"
#include "tests/unit/agent-primary/ship/extents_fixture.h"

namespace understudy::primary {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Le;

class BlocksTest : public ExtentsFixture {
 protected:
  void SetUp() override { SetUpOn("ext4"); }

  std::string Here(const std::string& path) const {
    return os::ReadAt(os::Fd(open(At(path).c_str(), O_RDONLY)).get(), 0, std::filesystem::file_size(At(path))).value();
  }
  void Rewrite(const std::string& path, std::string_view content) {
    const os::Fd file = OpenFile(path);
    ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(content.size())), 0);
    ASSERT_TRUE(os::WriteAt(file.get(), 0, content).ok());
  }
  // Made and replicated; the counters begin anew.
  void MakeReplicated(uint64_t bytes) {
    MakeImage("file", bytes);
    ASSERT_TRUE(Sync().ok());
    ExpectEqual();
    sink_.TakeBytes();
    sink_.TakeAsked();
  }
};

TEST_F(BlocksTest, WhatWasPutInIsWhatTravels) {
  MakeReplicated(24 * kMebibyte);
  std::string content = Here("file");
  content.insert(5'000'000, Noise(300'001));
  Rewrite("file", content);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "rsync");
  ExpectEqual();
  EXPECT_THAT(sink_.TakeBytes(), Le(300'001 + uint64_t{6} * 32 * 1024));
  EXPECT_THAT(sink_.TakeAsked(), Le(6u)) << "each of DR's segments once";
}

// How far it went is found once, and the kept marks tell the rest.
TEST_F(BlocksTest, DrIsAskedOnlyWhereContentBeginsToBeElsewhere) {
  MakeReplicated(80 * kMebibyte);
  std::string content = Here("file");
  content.insert(50'000'000, Noise(70'001));
  content.insert(5'000'000, Noise(300'001));
  Rewrite("file", content);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "rsync");
  ExpectEqual();
  EXPECT_THAT(sink_.TakeBytes(), Le(370'002 + uint64_t{2} * 32 * 1024 + uint64_t{21} * 64));
  EXPECT_THAT(sink_.TakeAsked(), Le(6u)) << "three segments for each of the two places";
}

// DR holds what it makes to the segment's digest, and refuses it.
TEST_F(BlocksTest, MarksThatAreMistakenLeadToTheFileItself) {
  constexpr uint64_t kMoved = 5000;
  constexpr uint64_t kMistaken = 3 * delta::kSegmentBytes / kBlock + 7;  // a block of what it was
  MakeReplicated(24 * kMebibyte);
  std::string content = Noise(kMoved) + Here("file");
  const std::string other = Noise(kBlock);
  content.replace(kMistaken * kBlock + kMoved, kBlock, other);
  replicator_.reset();
  {
    const auto index = VolumeIndex::Open(state_.File("web.db")).value();
    const uint64_t inode = index->Find("file").value()->inode;
    SegmentRecord record = *index->FindSegment(inode, 3).value();
    std::string mark;
    (void)delta::DigestOfBlocks(kMistaken * kBlock, other, &mark);
    record.blocks.replace(7 * delta::kBlockMarkBytes, mark.size(), mark);
    const std::vector<IndexChange> changes = {PutSegment{inode, record}};
    ASSERT_TRUE(index->Refresh(changes).ok());
  }
  Start();
  Rewrite("file", content);
  const absl::Status mistaken = Sync();
  EXPECT_TRUE(absl::IsDataLoss(mistaken)) << mistaken;
  for (int tries = 1; !Sync().ok(); ++tries) ASSERT_LT(tries, 3) << "by then the replica is compared with the volume";
  ExpectEqual();
}

TEST_F(BlocksTest, WhatWasTakenOutDoesntTravel) {
  MakeReplicated(24 * kMebibyte);
  std::string content = Here("file");
  content.erase(5'000'000, 1'234'567);
  Rewrite("file", content);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "rsync");
  ExpectEqual();
  EXPECT_THAT(sink_.TakeBytes(), Le(uint64_t{6} * 32 * 1024));
}

TEST_F(BlocksTest, WhereAllIsNewDrIsSeldomAsked) {
  constexpr uint64_t kSegments = 20;
  MakeReplicated(kSegments * delta::kSegmentBytes);
  MakeImage("file", kSegments * delta::kSegmentBytes);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "blocks");
  ExpectEqual();
  EXPECT_EQ(sink_.TakeBytes(), kSegments * delta::kSegmentBytes);
  EXPECT_THAT(sink_.TakeAsked(), Le(15u));
}

TEST_F(BlocksTest, MarksThatArentKnownAreLearnt) {
  MakeReplicated(12 * kMebibyte);
  std::filesystem::remove(state_.File("web.db"));
  Start();
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(sink_.TakeBytes(), 0u) << "DR has it";
  const std::string block = Noise(kBlock);
  ASSERT_TRUE(os::WriteAt(OpenFile("file").get(), 7 * kMebibyte, block).ok());
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "blocks");
  EXPECT_EQ(sink_.TakeBytes(), kBlock);
  EXPECT_EQ(sink_.TakeAsked(), 0u);
  ExpectEqual();
}

TEST_F(BlocksTest, SizesThatEndAnywhere) {
  MakeReplicated(9 * kMebibyte + 12'345);
  const os::Fd file = OpenFile("file");
  for (const uint64_t size :
       {9 * kMebibyte + 12'345 - 1, 9 * kMebibyte, 8 * kMebibyte, 8 * kMebibyte - kBlock, 12 * kMebibyte,
        5 * kMebibyte + 1, 5 * kMebibyte + 2, 4 * kMebibyte + 1, 20 * kMebibyte + 7}) {
    ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(size)), 0);
    ASSERT_TRUE(Sync().ok());
    ExpectEqual();
    EXPECT_THAT(sink_.TakeBytes(), Le(kBlock)) << size;
  }
}

TEST_F(BlocksTest, ZerosTravelAsHoles) {
  MakeReplicated(16 * kMebibyte);
  const os::Fd file = OpenFile("file");
  ASSERT_EQ(fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * kMebibyte, 7 * kMebibyte), 0);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(sink_.TakeBytes(), 0u);
  ExpectEqual();
  ASSERT_TRUE(os::WriteAt(file.get(), 5 * kMebibyte, Noise(kBlock)).ok());
  ASSERT_TRUE(Sync().ok());
  EXPECT_THAT(sink_.TakeBytes(), Le(kStagePieceBytes));
  ExpectEqual();
}

// Captures by hand what the index of the volume, which isn't replicated any more, tells apart.
class ByHandTest : public BlocksTest {
 protected:
  void TakeOver() {
    epoch_ = replicator_->Status().epoch;
    sequence_ = replicator_->Status().sequence;
    replicator_.reset();
    index_ = VolumeIndex::Open(state_.File("web.db")).value();
    root_.emplace(os::Root::Open(At("")).value());
    ASSERT_TRUE(sink_.Open({"web", "/dr/web", epoch_}).ok());
    sink_.staged_at.clear();
  }
  absl::StatusOr<CapturedFile> Capture(uint64_t most_ranges = wire::kMaxContentRanges) {
    std::set<std::string> leftovers;
    if (!sink_.held.empty()) leftovers.insert("file");
    const CaptureRequest request{.root = *root_,
                                 .index = *index_,
                                 .sink = sink_,
                                 .volume = volume_,
                                 .path = "file",
                                 .base = IndexEntry{"file", *index_->Find("file").value()},
                                 .slot = 1,
                                 .leftovers = &leftovers,
                                 .most_ranges = most_ranges};
    ASSIGN_OR_RETURN(OpenedFile opened, OpenForCapture(request));
    return CaptureFile(request, std::move(opened));
  }
  // As the commit that `captured` leads to.
  void Submit(const CapturedFile& captured) {
    model::Commit commit;
    commit.volume = "web";
    commit.epoch = epoch_;
    commit.base_sequence = sequence_;
    commit.sequence = sequence_ + 1;
    commit.id = "by-hand";
    commit.operations = {model::Patch{"file", captured.metadata, captured.stat.size, captured.digest, 1}};
    const absl::Status submitted = sink_.Submit(commit);
    ASSERT_TRUE(submitted.ok()) << submitted;
    ExpectEqual();
  }

  const model::VolumeName volume_ = "web";
  model::Epoch epoch_ = 0;
  model::Sequence sequence_ = 0;
  std::unique_ptr<VolumeIndex> index_;
  std::optional<os::Root> root_;
};

TEST_F(ByHandTest, ManyChangesTravelInPiecesThatDrTakes) {
  constexpr uint64_t kMost = 2048;
  MakeReplicated(32 * kMebibyte);
  for (uint64_t at = 0; at < 32 * kMebibyte; at += 2 * kBlock) {
    ASSERT_TRUE(os::WriteAt(OpenFile("file").get(), at, Noise(kBlock)).ok());
  }
  TakeOver();
  replicas_.SetMostRanges(kMost);
  const absl::StatusOr<CapturedFile> captured = Capture(kMost);
  ASSERT_TRUE(captured.ok()) << captured.status();
  EXPECT_EQ(captured->rung, "blocks");
  Submit(*captured);
}

// DR keeps what differs of a delta, not the delta.
TEST_F(ByHandTest, DeltasCountForWhatTheyChange) {
  constexpr uint64_t kMost = 4096;
  MakeReplicated(64 * kMebibyte);
  std::string content = Here("file");
  content.insert(0, Noise(100));
  Rewrite("file", content);
  for (uint64_t at = 2 * kBlock; at < 64 * kMebibyte; at += 2 * kBlock) {  // half of it is where it was
    ASSERT_TRUE(os::WriteAt(OpenFile("file").get(), at, std::string_view(content).substr(at + 100, kBlock)).ok());
  }
  TakeOver();
  replicas_.SetMostRanges(kMost);
  const absl::StatusOr<CapturedFile> captured = Capture(kMost);
  ASSERT_TRUE(captured.ok()) << captured.status();
  Submit(*captured);
}

// An earlier session staged something of a segment in which, by now, nothing is to be sent.
TEST_F(ByHandTest, WhatIsHeldOfASegmentThatWasOnlyCutIsGivenUp) {
  MakeReplicated(12 * kMebibyte);
  ASSERT_EQ(ftruncate(OpenFile("file").get(), 6 * kMebibyte), 0);
  TakeOver();
  model::Digest other{};
  other[0] = 1;
  sink_.held = {{1, other}};
  const absl::StatusOr<CapturedFile> captured = Capture();
  ASSERT_TRUE(captured.ok()) << captured.status();
  EXPECT_THAT(sink_.staged_at, ElementsAre(delta::kSegmentBytes));
  Submit(*captured);
}

TEST_F(ByHandTest, WhatIsHeldAndWantedIsntSentAgain) {
  MakeReplicated(12 * kMebibyte);
  ASSERT_TRUE(os::WriteAt(OpenFile("file").get(), 5 * kMebibyte, Noise(kBlock)).ok());
  const std::string content = Here("file");
  TakeOver();
  sink_.held = {
      {1, delta::DigestOfSegment(1, std::string_view(content).substr(delta::kSegmentBytes, delta::kSegmentBytes))}};
  const absl::StatusOr<CapturedFile> captured = Capture();
  ASSERT_TRUE(captured.ok()) << captured.status();
  EXPECT_EQ(captured->bytes_resumed, delta::kSegmentBytes);
  EXPECT_THAT(sink_.staged_at, IsEmpty());
}

// Whatever happens to a file between two looks, DR has it after the second.
TEST_F(BlocksTest, RandomHistories) {
  MakeReplicated(10 * kMebibyte + 77);
  std::string content = Here("file");
  for (int step = 0; step < 120; ++step) {
    const uint64_t at = Below(content.size());
    const uint64_t length = 1 + Below(Below(4) == 0 ? 3 * kMebibyte : 20'000);
    const uint64_t within = std::min<uint64_t>(length, content.size() - at);
    switch (Below(6)) {
      case 0:
        if (content.size() < 20 * kMebibyte) content.insert(at, Noise(length));
        break;
      case 1:
        if (content.size() > 6 * kMebibyte) content.erase(at, within);
        break;
      case 2:
        content.replace(at, within, std::string(within, '\0'));
        break;
      case 3:
        content.resize(content.size() + length, '\0');
        break;
      default:
        content.replace(at, within, Noise(within));
    }
    Rewrite("file", content);
    ASSERT_TRUE(Sync().ok()) << step;
    ExpectEqual();
    if (HasFailure()) FAIL() << "at step " << step;
  }
}

}  // namespace
}  // namespace understudy::primary
