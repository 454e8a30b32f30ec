// Changes that no hint names: an NFS server's writes by handle, mapped pages, loop devices.
#include <gtest/gtest.h>
#include <sys/stat.h>

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

uint64_t InodeOf(const std::string& path) {
  struct stat raw {};
  EXPECT_EQ(stat(path.c_str(), &raw), 0);
  return raw.st_ino;
}

class UntoldTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(Path("d"));
    auto replicator =
        VolumeReplicator::Open("web", dir_.File("web"), "/dr/web", dir_.File("web.db"),
                               {.times = {absl::Milliseconds(1), absl::Milliseconds(10)}}, Clock::System());
    ASSERT_TRUE(replicator.ok()) << replicator.status();
    replicator_ = *std::move(replicator);
  }
  std::string Path(const std::string& name) const { return dir_.File("web/" + name); }
  // Until nothing is looked at again for its own sake.
  void Settle() {
    do {
      ASSERT_EQ(RunToBarrier(*replicator_, sink_, /*published=*/true), absl::OkStatus());
    } while (replicator_->Status().dirty_paths > 0);
  }
  // Runs when the replicator says so, up to what is due within a minute.
  void RunWhenDue() {
    const Clock& clock = Clock::System();
    const absl::Duration due = *replicator_->NextRun();
    ASSERT_LT(due, clock.Monotonic() + absl::Minutes(1)) << "nothing makes it look";
    absl::SleepFor(due - clock.Monotonic());
    ASSERT_EQ(replicator_->Run(sink_, {}), absl::OkStatus());
  }

  tests::TempDir dir_;
  tests::MemoryReplicas replicas_{"/dr"};
  tests::MemorySink sink_{replicas_};
  std::unique_ptr<VolumeReplicator> replicator_;
};

TEST_F(UntoldTest, ALargeFileIsLookedAtWithinMaxDelay) {
  std::ofstream(Path("disk")) << std::string(kMaxSmallFileBytes + 1, 'x');
  Settle();
  for (int i = 0; i < 3; ++i) {
    const uint64_t before = replicator_->Status().commits;
    RunWhenDue();
    EXPECT_EQ(replicator_->Status().commits, before) << "it hasn't changed";
    std::fstream(Path("disk"), std::ios::in | std::ios::out) << "round " << i;
    RunWhenDue();
    EXPECT_EQ(replicator_->Status().commits, before + 1);
    Settle();
  }
}

TEST_F(UntoldTest, ABarrierLooksAtEverythingIfItIsAskedTo) {
  std::ofstream(Path("d/small")) << "a";
  Settle();
  std::ofstream(Path("d/small")) << "b";
  const auto content = [&] { return replicas_.TreeOf("web").at(model::Key("d/small")).content; };
  ASSERT_EQ(RunToBarrier(*replicator_, sink_, /*published=*/true), absl::OkStatus());
  EXPECT_EQ(content(), "a");
  const uint64_t barrier = replicator_->RequestBarrier(/*rescan=*/true);
  ASSERT_EQ(replicator_->Run(sink_, {}), absl::OkStatus());
  EXPECT_TRUE(replicator_->AwaitBarrier(barrier, /*published=*/true, absl::ZeroDuration()));
  EXPECT_EQ(content(), "b");
}

TEST_F(UntoldTest, AVolumeWithoutLargeFilesIsNotWokenForThem) {
  std::ofstream(Path("small")) << "x";
  Settle();
  EXPECT_GT(*replicator_->NextRun(), Clock::System().Monotonic() + absl::Minutes(10));
  std::ofstream(Path("disk")) << std::string(kMaxSmallFileBytes + 1, 'x');
  replicator_->OnHint("disk", HintKind::kPath, /*at_once=*/true);
  Settle();
  EXPECT_LT(*replicator_->NextRun(), Clock::System().Monotonic() + absl::Minutes(1));
  std::filesystem::remove(Path("disk"));
  replicator_->OnHint("disk", HintKind::kPath, /*at_once=*/true);
  Settle();
  EXPECT_GT(*replicator_->NextRun(), Clock::System().Monotonic() + absl::Minutes(10));
}

TEST_F(UntoldTest, AnInodeLeadsToItsNames) {
  std::ofstream(Path("d/small")) << "x";
  std::filesystem::create_hard_link(Path("d/small"), Path("link"));
  Settle();
  const uint64_t before = replicator_->Status().commits;
  std::ofstream(Path("link")) << "other";
  replicator_->OnInode(InodeOf(Path("link")), /*at_once=*/true);
  EXPECT_EQ(replicator_->Status().lag_seconds, 0) << "it may be another volume's";
  RunWhenDue();
  EXPECT_EQ(replicator_->Status().commits, before + 1);
  Settle();
}

TEST_F(UntoldTest, AnInodeOfAnotherVolumeLeadsNowhere) {
  std::ofstream(Path("d/small")) << "x";
  Settle();
  const uint64_t before = replicator_->Status().commits;
  replicator_->OnInode(InodeOf(dir_.Path()), /*at_once=*/true);
  RunWhenDue();
  EXPECT_EQ(replicator_->Status().commits, before);
  EXPECT_GT(*replicator_->NextRun(), Clock::System().Monotonic() + absl::Minutes(10));
}

// What is being captured isn't in the index yet when the server writes it again.
TEST_F(UntoldTest, AnInodeThatIsNotKnownYetIsLookedAtOnceItIs) {
  Settle();
  class WritesMeanwhile : public tests::MemorySink {
   public:
    WritesMeanwhile(tests::MemoryReplicas& replicas, std::function<void()> write)
        : MemorySink(replicas), write_(std::move(write)) {}
    absl::Status Submit(const model::Commit& commit) override {
      if (write_ != nullptr) std::exchange(write_, nullptr)();
      return MemorySink::Submit(commit);
    }

   private:
    std::function<void()> write_;
  };
  WritesMeanwhile sink(replicas_, [this] {
    std::ofstream(Path("d/new")) << "second";
    replicator_->OnInode(InodeOf(Path("d/new")), /*at_once=*/true);
  });
  std::ofstream(Path("d/new")) << "first";
  replicator_->OnHint("d/new", HintKind::kPath, /*at_once=*/true);
  replicator_->ForgetSession();
  ASSERT_EQ(replicator_->Run(sink, {}), absl::OkStatus());
  const uint64_t before = replicator_->Status().commits;
  ASSERT_EQ(replicator_->Run(sink, {}), absl::OkStatus());
  EXPECT_EQ(replicator_->Status().commits, before + 1);
}

}  // namespace
}  // namespace understudy::primary
