// The `blocks` and `rsync` rungs on a filesystem without reflinks: what travels, what DR is asked, and that DR has what
// the file was.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>

#include <filesystem>
#include <fstream>

#include "agent-primary/capture/file_capture.h"
#include "tests/unit/agent-primary/ship/extents_fixture.h"

namespace understudy::primary {
namespace {

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
  constexpr uint64_t kSegments = 40;
  MakeReplicated(kSegments * delta::kSegmentBytes);
  MakeImage("file", kSegments * delta::kSegmentBytes);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Rung(), "blocks");
  ExpectEqual();
  EXPECT_EQ(sink_.TakeBytes(), kSegments * delta::kSegmentBytes);
  EXPECT_THAT(sink_.TakeAsked(), Le(18u));
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
  for (const uint64_t size : {9 * kMebibyte + 12'345 - 1, 9 * kMebibyte, 8 * kMebibyte, 8 * kMebibyte - kBlock,
                              12 * kMebibyte, 5 * kMebibyte + 1, 5 * kMebibyte + 2, 4 * kMebibyte + 1,
                              20 * kMebibyte + 7}) {
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

TEST_F(BlocksTest, ManyChangesTravelInPiecesThatDrTakes) {
  constexpr uint64_t kMost = 64;
  MakeReplicated(64 * kMebibyte);
  const std::string before = Here("file");
  for (uint64_t at = 0; at < before.size(); at += uint64_t{64} * 1024) {
    ASSERT_TRUE(os::WriteAt(OpenFile("file").get(), at, Noise(kBlock)).ok());
  }
  replicator_.reset();
  replicas_.SetMostRanges(kMost);
  auto index = VolumeIndex::Open(state_.File("web.db")).value();
  const os::Root root = os::Root::Open(At("")).value();
  const model::VolumeName volume = "web";
  ASSERT_TRUE(sink_.Open({"web", "/dr/web", 1}).ok());
  const std::optional<IndexRow> known = index->Find("file").value();
  ASSERT_TRUE(known.has_value());
  const CaptureRequest request{.root = root,
                               .index = *index,
                               .sink = sink_,
                               .volume = volume,
                               .path = "file",
                               .base = IndexEntry{"file", *known},
                               .slot = 1,
                               .most_ranges = kMost};
  absl::StatusOr<OpenedFile> opened = OpenForCapture(request);
  ASSERT_TRUE(opened.ok()) << opened.status();
  const absl::StatusOr<CapturedFile> captured = CaptureFile(request, *std::move(opened));
  ASSERT_TRUE(captured.ok()) << captured.status();
  EXPECT_EQ(captured->rung, "blocks");
  EXPECT_EQ(captured->digest, delta::DigestOfContent(Here("file")));
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
