// Disk images on a filesystem with reflinks, with the commit engine itself behind them: what DR publishes is what the
// image was, and what a cut link left there isn't sent again.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "agent-dr/commit/commit_engine.h"
#include "agent-primary/ship/volume_replicator.h"
#include "core/base/clock.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"
#include "tests/support/loop_mount.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tree_compare.h"

namespace understudy {
namespace {

using ::testing::IsEmpty;

constexpr uint64_t kMebibyte = 1024 * 1024;
constexpr uint64_t kBlock = 4096;

// A link that counts what it carries, and is cut after so much.
class Link : public dr::LocalSink {
 public:
  using LocalSink::LocalSink;
  absl::Status StageData(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                         std::string_view data) override {
    if (carried_ + data.size() > cut_after) return absl::UnavailableError("injected: the link is cut");
    carried_ += data.size();
    return LocalSink::StageData(volume, slot, offset, data);
  }
  uint64_t TakeCarried() { return std::exchange(carried_, 0); }
  uint64_t cut_after = UINT64_MAX;

 private:
  uint64_t carried_ = 0;
};

class ImageMirrorTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto disk = tests::LoopMount::Make(GetParam(), 900);
    if (absl::IsUnimplemented(disk.status())) GTEST_SKIP() << disk.status();
    ASSERT_TRUE(disk.ok()) << disk.status();
    disk_ = *std::move(disk);
    for (const char* const folder : {"/primary/export/web", "/dr/export"}) {
      std::filesystem::create_directories(disk_->Path() + folder);
    }
    auto engine = dr::CommitEngine::Start({.state_dir = state_.Path(), .exports = {disk_->Path() + "/dr/export"}});
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    link_ = std::make_unique<Link>(*engine_);
    auto replicator = primary::VolumeReplicator::Open(
        "web", Volume(), disk_->Path() + "/dr/export/web", state_.File("web.db"),
        {.times = {absl::ZeroDuration(), absl::ZeroDuration()}, .export_path = disk_->Path() + "/primary/export"},
        Clock::System());
    ASSERT_TRUE(replicator.ok()) << replicator.status();
    replicator_ = *std::move(replicator);
  }
  std::string Volume() const { return disk_->Path() + "/primary/export/web"; }

  absl::Status Sync() {
    replicator_->OnOverflow();
    const uint64_t barrier = replicator_->RequestBarrier();
    while (!replicator_->AwaitBarrier(barrier, /*published=*/true, absl::ZeroDuration())) {
      RETURN_IF_ERROR(replicator_->Run(*link_, {}));
    }
    return absl::OkStatus();
  }
  void SyncAndExpectEqual() {
    const absl::Status synced = Sync();
    ASSERT_TRUE(synced.ok()) << synced;
    const auto differences = tests::CompareTrees(Volume(), disk_->Path() + "/dr/export/web");
    ASSERT_TRUE(differences.ok()) << differences.status();
    EXPECT_THAT(*differences, IsEmpty());
  }
  void Write(uint64_t at, uint64_t length) {
    const os::Fd file(open((Volume() + "/disk").c_str(), O_RDWR | O_CREAT, 0600));
    std::string bytes(static_cast<size_t>(length), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    ASSERT_TRUE(os::WriteAt(file.get(), at, bytes).ok());
  }

  std::unique_ptr<tests::LoopMount> disk_;
  const tests::TempDir state_;
  std::unique_ptr<dr::CommitEngine> engine_;
  std::unique_ptr<Link> link_;
  std::unique_ptr<primary::VolumeReplicator> replicator_;
  std::mt19937_64 random_{20261201};
};

TEST_P(ImageMirrorTest, WhatDrPublishesIsWhatTheImageWas) {
  for (uint64_t at = 0; at < 64 * kMebibyte; at += kMebibyte) Write(at, kMebibyte);
  SyncAndExpectEqual();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 50; ++i) Write(random_() % (64 * kMebibyte / kBlock) * kBlock, kBlock);
    if (round == 1) std::filesystem::resize_file(Volume() + "/disk", 63 * kMebibyte + 100);
    SyncAndExpectEqual();
    EXPECT_EQ(replicator_->Status().strategy, "extents");
  }
}

TEST_P(ImageMirrorTest, WhatACutLinkLeftAtDrIsntSentAgain) {
  for (uint64_t at = 0; at < 64 * kMebibyte; at += kMebibyte) Write(at, kMebibyte);
  SyncAndExpectEqual();
  for (uint64_t at = 0; at < 64 * kMebibyte; at += 2 * kMebibyte) Write(at, kMebibyte);
  link_->TakeCarried();
  link_->cut_after = 20 * kMebibyte;
  EXPECT_FALSE(Sync().ok());
  link_->cut_after = UINT64_MAX;
  link_->TakeCarried();
  // Of what DR holds, one segment changes once more; the rest of the image, too.
  Write(9 * kMebibyte, kBlock);
  Write(63 * kMebibyte, kBlock);
  SyncAndExpectEqual();
  EXPECT_EQ(replicator_->Status().strategy, "extents");
  EXPECT_LE(link_->TakeCarried(), 18 * kMebibyte) << "of 32 MiB that changed";
}

TEST_P(ImageMirrorTest, WhatIsHeldAtDrAndChangedBackMeanwhileIsntTaken) {
  for (uint64_t at = 0; at < 64 * kMebibyte; at += kMebibyte) Write(at, kMebibyte);
  SyncAndExpectEqual();
  const std::string image = Volume() + "/disk";
  const os::Fd file(open(image.c_str(), O_RDWR));
  const std::string before = os::ReadAt(file.get(), 0, 16 * kMebibyte).value();
  Write(0, 40 * kMebibyte);
  link_->TakeCarried();
  link_->cut_after = 20 * kMebibyte;
  EXPECT_FALSE(Sync().ok());
  link_->cut_after = UINT64_MAX;
  ASSERT_TRUE(os::WriteAt(file.get(), 0, before).ok());
  Write(50 * kMebibyte, kBlock);
  SyncAndExpectEqual();
}

INSTANTIATE_TEST_SUITE_P(Filesystems, ImageMirrorTest, ::testing::Values("xfs", "btrfs"));

}  // namespace
}  // namespace understudy
