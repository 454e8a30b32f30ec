// A volume that the change source covers in part only: scans find what no hint tells of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "agent-primary/ship/volume_replicator.h"
#include "core/base/clock.h"
#include "core/model/path.h"
#include "tests/support/memory_sink.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent-primary/ship/run_to_barrier.h"

namespace understudy::primary {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CoverageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(dir_.File("web/folder"));
    auto replicator = VolumeReplicator::Open("web", dir_.File("web"), "/dr/web", dir_.File("web.db"),
                                             {.times = {absl::ZeroDuration(), absl::ZeroDuration()}}, Clock::System());
    ASSERT_TRUE(replicator.ok()) << replicator.status();
    replicator_ = *std::move(replicator);
    RunBarrier();
  }

  void RunBarrier() {
    const absl::Status status = RunToBarrier(*replicator_, sink_, /*published=*/true);
    ASSERT_TRUE(status.ok()) << status;
  }
  bool DrHas(const std::string& path) { return replicas_.TreeOf("web").contains(model::Key(path)); }

  tests::TempDir dir_;
  tests::MemoryReplicas replicas_{"/dr"};
  tests::MemorySink sink_{replicas_};
  std::unique_ptr<VolumeReplicator> replicator_;
};

TEST_F(CoverageTest, BarrierOfAPartlyWatchedVolumeLooksAtAllOfIt) {
  std::ofstream(dir_.File("web/folder/first")) << "nobody hints at it";
  RunBarrier();
  ASSERT_FALSE(DrHas("folder/first")) << "this test would prove nothing";
  replicator_->OnCoverage(absl::ResourceExhaustedError("no watch left"));
  EXPECT_THAT(replicator_->Status().error, HasSubstr("no watch left"));
  RunBarrier();
  EXPECT_TRUE(DrHas("folder/first"));
  std::ofstream(dir_.File("web/folder/second")) << "nobody hints at it";
  RunBarrier();
  EXPECT_TRUE(DrHas("folder/second"));
  replicator_->OnCoverage(absl::OkStatus());
  EXPECT_THAT(replicator_->Status().error, IsEmpty());
  std::ofstream(dir_.File("web/folder/third")) << "nobody hints at it";
  RunBarrier();
  EXPECT_FALSE(DrHas("folder/third"));
}

TEST_F(CoverageTest, EntriesAreCountedWithoutAScan) {
  EXPECT_EQ(replicator_->Status().files, 1u);
  std::ofstream(dir_.File("web/folder/new")) << "hinted at";
  replicator_->OnHint("folder/new", HintKind::kPath, /*at_once=*/true);
  RunBarrier();
  EXPECT_EQ(replicator_->Status().files, 2u);
}

TEST_F(CoverageTest, PartlyWatchedVolumeIsScannedEveryMinute) {
  const Clock& clock = Clock::System();
  while (replicator_->Status().dirty_paths > 0) RunBarrier();  // what is racily clean
  ASSERT_GT(*replicator_->NextRun(), clock.Monotonic() + absl::Minutes(50));
  replicator_->OnCoverage(absl::ResourceExhaustedError("no watch left"));
  EXPECT_LE(*replicator_->NextRun(), clock.Monotonic() + absl::Minutes(1));
  RunBarrier();
  while (replicator_->Status().dirty_paths > 0) RunBarrier();
  EXPECT_LE(*replicator_->NextRun(), clock.Monotonic() + absl::Minutes(2));
  EXPECT_GT(*replicator_->NextRun(), clock.Monotonic() + absl::Seconds(30));
}

}  // namespace
}  // namespace understudy::primary
