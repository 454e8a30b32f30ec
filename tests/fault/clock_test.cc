// The primary's wall clock jumps, back and forth, between changes and captures: nothing is lost, nothing waits for the
// clock to come back, and the lag stays what it is.
//
// The machine's clock can't be set here, so the agent's clock is a test's and both halves run in this process; the
// times in the filesystem go on. Not covered: what libraries do with the kernel's wall clock.
#include "core/base/clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "agent-dr/commit/commit_engine.h"
#include "agent-primary/ship/volume_replicator.h"
#include "tests/fault/fault_pair.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tree_compare.h"

namespace understudy {
namespace {

using ::testing::IsEmpty;

constexpr int kJumps = 20;
constexpr uint64_t kStepsBetweenJumps = 6;

// The machine's, with a wall clock that is off by what the test says.
class JumpingClock : public Clock {
 public:
  [[nodiscard]] absl::Time Now() const override {
    return Clock::System().Now() + absl::Seconds(off_by_seconds_.load());
  }
  [[nodiscard]] absl::Duration Monotonic() const override { return Clock::System().Monotonic(); }
  void Jump(absl::Duration by) { off_by_seconds_ += absl::ToInt64Seconds(by); }

 private:
  std::atomic<int64_t> off_by_seconds_ = 0;
};

TEST(ClockTest, JumpsLoseNothing) {
  const uint64_t seed = tests::SeedOfRun();
  std::mt19937_64 random(seed);
  const tests::TempDir dir;
  const std::string volume = dir.File("primary");
  const std::string replica = dir.File("dr/web");
  for (const char* folder : {"primary", "dr", "state"}) std::filesystem::create_directories(dir.File(folder));
  auto engine = dr::CommitEngine::Start({.state_dir = dir.File("state"), .exports = {dir.File("dr")}});
  ASSERT_TRUE(engine.ok()) << engine.status();
  dr::LocalSink sink(**engine);
  JumpingClock clock;
  auto replicator = primary::VolumeReplicator::Open("web", volume, replica, dir.File("web.db"), {}, clock);
  ASSERT_TRUE(replicator.ok()) << replicator.status();
  tests::Workload workload(volume, random());
  for (int jump = 0; jump < kJumps; ++jump) {
    for (uint64_t step = 0; step < kStepsBetweenJumps; ++step) workload.Step();
    workload.KeepSmall();
    (*replicator)->OnOverflow();
    clock.Jump(absl::Hours(random() % 2 == 0 ? 1 : -1));
    // A run is due as soon as it would be without the jump.
    ASSERT_LE((*replicator)->NextRun().value(), clock.Monotonic() + absl::Seconds(2)) << "jump " << jump;
    ASSERT_LT((*replicator)->Status().lag_seconds, 600) << "jump " << jump;
    const uint64_t barrier = (*replicator)->RequestBarrier();
    while (!(*replicator)->AwaitBarrier(barrier, /*published=*/true, absl::ZeroDuration())) {
      const absl::Status ran = (*replicator)->Run(sink, {});
      ASSERT_TRUE(ran.ok()) << ran;
    }
    const auto differences = tests::CompareTrees(volume, replica);
    ASSERT_TRUE(differences.ok()) << differences.status();
    ASSERT_THAT(*differences, IsEmpty()) << "jump " << jump;
    ASSERT_EQ((*replicator)->Status().lag_seconds, 0) << "jump " << jump;
  }
}

}  // namespace
}  // namespace understudy
