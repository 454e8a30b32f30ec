// What the guards see: how many entries a plan leaves, captures that are too large for one look, another folder.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "agent-primary/capture/change_detector.h"
#include "agent-primary/capture/planner.h"
#include "agent-primary/ship/root_guard.h"
#include "agent-primary/ship/volume_replicator.h"
#include "core/base/clock.h"
#include "core/os/tree_walk.h"
#include "tests/support/churn.h"
#include "tests/support/memory_sink.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent-primary/ship/agreeing_sink.h"
#include "tests/unit/agent-primary/ship/run_to_barrier.h"

namespace understudy::primary {
namespace {

class LargeGuardTest : public ::testing::Test {
 protected:
  // More than one capture takes, and more than half of it in one.
  static constexpr size_t kEntries = kMaxChangesPerCapture + kMaxChangesPerCapture / 10;

  void SetUp() override {
    for (const char* const folder : {"a", "z"}) std::filesystem::create_directories(At(folder));
    for (size_t i = 0; i < kEntries; ++i) ASSERT_EQ(symlink("target", At(fmt::format("a/{}", i)).c_str()), 0);
    replicator_ = VolumeReplicator::Open("web", dir_.File("web"), "/dr/web", dir_.File("web.db"),
                                         {.times = {absl::ZeroDuration(), absl::ZeroDuration()}}, Clock::System())
                      .value();
  }
  std::string At(const std::string& path) const { return dir_.File("web/" + path); }

  absl::Status Scan() { return ScanToBarrier(*replicator_, sink_, /*published=*/false); }

  tests::TempDir dir_;
  AgreeingSink sink_;
  std::unique_ptr<VolumeReplicator> replicator_;
};

TEST_F(LargeGuardTest, ALookThatEndsEarlyTakesMovesForMovesAndADeletionAsAWhole) {
  ASSERT_TRUE(Scan().ok());
  for (size_t i = 0; i < kEntries; ++i) {
    ASSERT_EQ(std::rename(At(fmt::format("a/{}", i)).c_str(), At(fmt::format("z/{}", i)).c_str()), 0);
  }
  const absl::Status moved = Scan();
  ASSERT_TRUE(moved.ok()) << moved;

  const model::Sequence before = sink_.sequence();
  for (size_t i = 0; i < kEntries; ++i) ASSERT_EQ(unlink(At(fmt::format("z/{}", i)).c_str()), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(Scan()));
  EXPECT_EQ(sink_.sequence(), before);
  const auto guard = replicator_->Status().guard;
  ASSERT_TRUE(guard.has_value());
  EXPECT_EQ(guard->entries_gone, kEntries);
  // One approval is enough for all the captures that it takes.
  const absl::StatusOr<uint64_t> approval = replicator_->RequestApproval(guard->kind, guard->entries_gone);
  ASSERT_TRUE(approval.ok());
  const absl::Status taken = Scan();
  EXPECT_TRUE(taken.ok()) << taken;
  EXPECT_TRUE(replicator_->AwaitApproval(*approval, absl::ZeroDuration()).ok());
}

// With hints alone, nobody asks for a look at everything.
TEST(GuardApprovalTest, IsForOneDeletionAndNotForTheNextOfItsSize) {
  constexpr int kEntries = 200;
  constexpr int kGone = 150;
  const tests::TempDir dir;
  const std::string folder = dir.File("web");
  ASSERT_TRUE(std::filesystem::create_directory(folder));
  AgreeingSink sink;
  const auto replicator =
      VolumeReplicator::Open("web", folder, "/dr/web", dir.File("web.db"),
                             {.times = {absl::ZeroDuration(), absl::ZeroDuration()}}, Clock::System())
          .value();
  const auto replicate = [&] { return RunToBarrier(*replicator, sink, /*published=*/false); };
  const auto change = [&](int from, const std::function<int(const std::string&)>& each) {
    for (int i = from; i < kEntries; ++i) {
      EXPECT_EQ(each(fmt::format("{}/{}", folder, i)), 0);
      replicator->OnHint(std::to_string(i), HintKind::kPath, /*at_once=*/false);
    }
  };
  const auto make = [](const std::string& path) { return symlink("target", path.c_str()); };
  const auto remove = [](const std::string& path) { return unlink(path.c_str()); };
  change(0, make);
  ASSERT_TRUE(replicate().ok());
  change(kEntries - kGone, remove);
  ASSERT_TRUE(absl::IsFailedPrecondition(replicate()));
  const auto guard = replicator->Status().guard;
  ASSERT_TRUE(guard.has_value());
  ASSERT_TRUE(replicator->RequestApproval(guard->kind, guard->entries_gone).ok());
  ASSERT_TRUE(replicate().ok());
  change(kEntries - kGone, make);
  ASSERT_TRUE(replicate().ok());
  change(kEntries - kGone, remove);
  EXPECT_TRUE(absl::IsFailedPrecondition(replicate()));
}

// A volume whose data somebody is about to delete.
TEST(PausedVolumeTest, NothingOfItIsCapturedUntilItGoesOn) {
  const tests::TempDir dir;
  std::filesystem::create_directories(dir.File("web"));
  for (const char* const name : {"web/a", "web/b"}) ASSERT_EQ(symlink("target", dir.File(name).c_str()), 0);
  AgreeingSink sink;
  const auto replicator =
      VolumeReplicator::Open("web", dir.File("web"), "/dr/web", dir.File("web.db"),
                             {.times = {absl::ZeroDuration(), absl::ZeroDuration()}}, Clock::System())
          .value();
  ASSERT_TRUE(ScanToBarrier(*replicator, sink, /*published=*/false).ok());
  const model::Sequence before = sink.sequence();
  replicator->Pause(PauseReason::kReclaim);
  for (const char* const name : {"web/a", "web/b"}) ASSERT_EQ(unlink(dir.File(name).c_str()), 0);
  replicator->OnOverflow();
  const uint64_t barrier = replicator->RequestBarrier();
  EXPECT_TRUE(replicator->Run(sink, {}).ok());
  EXPECT_EQ(sink.sequence(), before);
  EXPECT_TRUE(absl::IsFailedPrecondition(replicator->BarrierRefusal(barrier)));
  EXPECT_EQ(replicator->NextRun(), std::nullopt);
  EXPECT_EQ(ToString(replicator->Status().state), "paused");
  EXPECT_EQ(replicator->Status().lag_seconds, 0);
  replicator->Resume(PauseReason::kReclaim);
  ASSERT_TRUE(ScanToBarrier(*replicator, sink, /*published=*/false).ok());
  EXPECT_GT(sink.sequence(), before);
}

// Whatever happened to a volume, the plan that makes the replica equal to it leaves as many entries as it has.
class PlannedCountTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  std::string Volume() const { return dir_.File("web"); }

  uint64_t Planned(bool moves) {
    const auto index = VolumeIndex::Open(dir_.File("web.db")).value();
    const os::Root root = os::Root::Open(Volume()).value();
    ChangeDetector detector(root, *index, moves);
    EXPECT_TRUE(detector.LookBelow("").ok());
    EXPECT_TRUE(detector.LookAtOtherNames().ok());
    return CountEntriesAfter(MakePlan(detector, *index).value(), *index).value();
  }

  uint64_t There() {
    const os::Root root = os::Root::Open(Volume()).value();
    os::TreeWalk walk = os::TreeWalk::Begin(root, "").value();
    uint64_t entries = 0;
    while (walk.Next().value().has_value()) ++entries;
    return entries;
  }

  void Replicate() {
    const auto replicator =
        VolumeReplicator::Open("web", Volume(), "/dr/web", dir_.File("web.db"),
                               {.times = {absl::ZeroDuration(), absl::ZeroDuration()}}, Clock::System())
            .value();
    const absl::Status status = RunToBarrier(*replicator, sink_, /*published=*/false);
    ASSERT_TRUE(status.ok()) << status;
  }

  tests::TempDir dir_;
  tests::MemoryReplicas replicas_{"/dr"};
  tests::MemorySink sink_{replicas_};
};

TEST_P(PlannedCountTest, IsWhatTheVolumeHas) {
  std::filesystem::create_directories(Volume());
  tests::Churn churn(Volume(), GetParam(), 100'000);
  for (int round = 0; round < 30; ++round) {
    std::string story;
    for (int step = 0; step < 8; ++step) story += churn.Step() + "\n";
    ASSERT_EQ(Planned(/*moves=*/true), There()) << story;
    ASSERT_EQ(Planned(/*moves=*/false), There()) << story;
    ASSERT_NO_FATAL_FAILURE(Replicate());
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PlannedCountTest, ::testing::Range<uint64_t>(1, 13));

TEST(RootGuardTest, ATakenFolderMakesInodeNumbersTellNothing) {
  const tests::TempDir dir;
  const auto index = VolumeIndex::Open(dir.File("web.db")).value();
  IndexRow row;
  row.kind = model::FileKind::kRegular;
  row.inode = 7;
  const IndexChange change = PutRow{"a", row};
  ASSERT_TRUE(index->Refresh({&change, 1}).ok());
  const os::Root root = os::Root::Open(dir.Path()).value();
  EXPECT_TRUE(absl::IsFailedPrecondition(TakeRoot(*index, root, RootIdentity{0, 1, 1})));
  EXPECT_TRUE(index->FindByInode(7).value().has_value());
  EXPECT_TRUE(TakeRoot(*index, root, IdentifyRoot(root).value()).ok());
  EXPECT_FALSE(index->FindByInode(7).value().has_value());
  EXPECT_EQ(index->guard().root, IdentifyRoot(root).value());
}

TEST(RootGuardTest, OnlyWhatBothKnowTells) {
  const RootIdentity known{7, 2, 1000};
  EXPECT_EQ(FindRootChange(known, known), std::nullopt);
  EXPECT_EQ(FindRootChange(known, {0, 2, 0}), std::nullopt);
  EXPECT_EQ(FindRootChange({0, 0, 0}, known), std::nullopt);
  EXPECT_NE(FindRootChange(known, {8, 2, 1000}), std::nullopt) << "another filesystem";
  EXPECT_NE(FindRootChange(known, {7, 3, 1000}), std::nullopt) << "another folder";
  EXPECT_NE(FindRootChange(known, {7, 2, 1001}), std::nullopt) << "another one under the same number";
}

}  // namespace
}  // namespace understudy::primary
