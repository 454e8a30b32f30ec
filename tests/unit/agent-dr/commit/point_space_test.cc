// What recovery points take of a filesystem with shared blocks, for a disk image that is written at random, and what
// comes back when they are thinned and when they are over.
//
// UNDERSTUDY_SPACE_COMMITS=1000 takes 1,000 commits of 1,000 blocks each on an image of 4 GiB.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <unordered_set>

#include "core/delta/content_digest.h"
#include "core/os/file_io.h"
#include "core/os/root.h"
#include "tests/support/loop_mount.h"
#include "tests/support/wait.h"
#include "tests/unit/agent-dr/commit/rewind_fixture.h"

namespace understudy::tests {
namespace {

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kMebibyte = 1024 * 1024;

class PointSpaceTest : public RewindTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    const char* const given = std::getenv("UNDERSTUDY_SPACE_COMMITS");
    if (given != nullptr) commits_ = std::strtoull(given, nullptr, 10);
    const bool whole = commits_ >= 1'000;
    image_bytes_ = (whole ? 4'096 : 256) * kMebibyte;
    blocks_ = whole ? 1'000 : 400;
    SetUpOn(GetParam(), whole ? 14'000 : 1'500);
    if (IsSkipped() || HasFatalFailure()) return;
    Restart({});
    Open();
  }
  // Bytes that the filesystem has given out.
  uint64_t Used() {
    const auto root = os::Root::Open(mount_->Path());
    EXPECT_TRUE(root.ok() && os::SyncFilesystem(root->fd()).ok());
    struct statvfs state {};
    EXPECT_EQ(statvfs(mount_->Path().c_str(), &state), 0);
    return (state.f_blocks - state.f_bfree) * state.f_frsize;
  }
  std::string Random(uint64_t bytes) {
    std::string data(bytes, '\0');
    for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
      const uint64_t word = random_();
      std::memcpy(data.data() + at, &word, sizeof(word));
    }
    return data;
  }
  void MakeImage() {
    ASSERT_TRUE(session_.StageBegin(1, "image", image_bytes_, "").ok());
    const std::string piece = Random(delta::kSegmentBytes);
    delta::ContentDigest digest;
    for (uint64_t at = 0; at < image_bytes_; at += piece.size()) {
      for (uint64_t part = 0; part < piece.size(); part += kMebibyte) {
        ASSERT_TRUE(session_.StageData(1, at + part, std::string_view(piece).substr(part, kMebibyte)).ok());
      }
      digest.Add(delta::DigestOfBlocks(at, piece));
    }
    ASSERT_TRUE(session_.StageEnd(1).ok());
    const absl::Status done =
        TryCommit({model::Put{"image", Meta(0600), image_bytes_, digest.Finish(image_bytes_), model::Slot{1}}});
    ASSERT_TRUE(done.ok()) << done;
  }
  void WriteBlocks(int64_t time) {
    ASSERT_TRUE(session_.StageBegin(1, "image", image_bytes_, "image").ok());
    std::set<uint64_t> chosen;  // ranges are staged in ascending order
    while (chosen.size() < blocks_) chosen.insert(random_() % (image_bytes_ / kBlockBytes));
    for (const uint64_t block : chosen) {
      ASSERT_TRUE(session_.StageData(1, block * kBlockBytes, Random(kBlockBytes)).ok());
      distinct_.insert(block);
    }
    ASSERT_TRUE(session_.StageEnd(1).ok());
    const absl::Status done = TryCommit({model::Patch{"image", Meta(0600, time), image_bytes_, {}, 1}});
    ASSERT_TRUE(done.ok()) << done;
  }

  std::mt19937_64 random_{7};
  uint64_t commits_ = 60;
  uint64_t image_bytes_ = 0;
  uint64_t blocks_ = 0;
  std::unordered_set<uint64_t> distinct_;  // blocks that were written at all
};
INSTANTIATE_TEST_SUITE_P(Filesystems, PointSpaceTest, testing::Values("xfs", "btrfs"),
                         [](const auto& given) { return std::string(given.param); });

TEST_P(PointSpaceTest, PointsTakeTheBlocksThatWereDisplacedAndGiveThemBack) {
  ASSERT_NO_FATAL_FAILURE(MakeImage());
  ASSERT_NO_FATAL_FAILURE(WriteBlocks(0));
  const uint64_t before = Used();
  for (uint64_t i = 0; i < commits_; ++i) {
    host_->AdvanceClock(absl::Seconds(3));
    ASSERT_NO_FATAL_FAILURE(WriteBlocks(static_cast<int64_t>(i)));
  }
  const uint64_t displaced = commits_ * blocks_ * kBlockBytes;
  const uint64_t taken = Used() - before;
  EXPECT_LE(taken, displaced + displaced * 3 / 10);

  // A day later one state of these is kept, so of each block the oldest content alone.
  host_->AdvanceClock(absl::Hours(25));
  while (true) {
    const auto merged = engine_->Thin("vol");
    ASSERT_TRUE(merged.ok()) << merged.status();
    if (*merged == 0) break;
  }
  const uint64_t distinct = distinct_.size() * kBlockBytes;
  uint64_t thinned = 0;
  // What was removed is freed in the background.
  EXPECT_TRUE(WaitFor("the space of the merged points", absl::Minutes(1),
                      [&] {
                        thinned = Used() - before;
                        return thinned <= distinct + distinct * 3 / 10;
                      })
                  .ok())
      << thinned << " of " << distinct;
  EXPECT_LE(engine_->Points("vol")->size(), 5u);

  // At last all of it.
  host_->AdvanceClock(absl::Hours(24 * 8));
  ASSERT_NO_FATAL_FAILURE(WriteBlocks(-1));
  ASSERT_NO_FATAL_FAILURE(WriteBlocks(-2));
  Restart({});
  uint64_t left = 0;
  const auto is_given_back = [&] {
    left = Used() - std::min(Used(), before);
    return left <= displaced / 10;
  };
  // XFS frees what was removed in the background. btrfs keeps an extent for as long as a part of it is used, as the
  // image's first ones are, whoever overwrites the rest.
  const absl::Status given_back = WaitFor("the space of the points", absl::Minutes(1), is_given_back);
  EXPECT_TRUE(given_back.ok() || std::string(GetParam()) == "btrfs") << given_back;
  fmt::print("{}: displaced {} MiB; taken {} MiB ({:.3f}); distinct {} MiB, after thinning {} MiB; at last {} MiB\n",
             GetParam(), displaced / kMebibyte, taken / kMebibyte,
             static_cast<double>(taken) / static_cast<double>(displaced), distinct / kMebibyte, thinned / kMebibyte,
             left / kMebibyte);
}

}  // namespace
}  // namespace understudy::tests
