// A volume that was promoted at DR: nothing of it is sent, it is said why, and it goes on when DR is a standby again.
// And the two reasons for which a volume is paused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "agent-primary/ship/paused_volumes.h"
#include "agent-primary/ship/volume_replicator.h"
#include "core/wire/status_fence.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent-primary/ship/agreeing_sink.h"
#include "tests/unit/agent-primary/ship/run_to_barrier.h"

namespace understudy::primary {
namespace {

using ::testing::HasSubstr;

class TestClock : public Clock {
 public:
  absl::Duration passed = absl::Seconds(1000);
  [[nodiscard]] absl::Time Now() const override { return absl::FromUnixSeconds(1'750'000'000) + passed; }
  [[nodiscard]] absl::Duration Monotonic() const override { return passed; }
};

// A DR that can be promoted, and counts what reaches it.
class PromotableSink : public AgreeingSink {
 public:
  absl::StatusOr<model::ReplicaState> Open(const model::VolumeSpec& spec) override {
    ++openings;
    if (promoted) return Refusal();
    return AgreeingSink::Open(spec);
  }
  absl::Status Submit(const model::Commit& commit) override {
    if (promoted) return Refusal();
    return AgreeingSink::Submit(commit);
  }
  bool promoted = false;
  int openings = 0;

 private:
  static absl::Status Refusal() {
    return wire::WithFence(absl::FailedPreconditionError("was promoted at DR (epoch 2): do this"), 2);
  }
};

class PromotedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(dir_.File("web"));
    Make("a");
    replicator_ = Open();
    ASSERT_TRUE(ScanToBarrier(*replicator_, sink_, /*published=*/false).ok());
  }
  std::unique_ptr<VolumeReplicator> Open() {
    return VolumeReplicator::Open("web", dir_.File("web"), "/dr/web", dir_.File("web.db"),
                                  {.times = {absl::ZeroDuration(), absl::ZeroDuration()}}, clock_)
        .value();
  }
  void Make(const std::string& name) { ASSERT_EQ(symlink("target", (dir_.File("web") + "/" + name).c_str()), 0); }

  tests::TempDir dir_;
  TestClock clock_;
  PromotableSink sink_;
  std::unique_ptr<VolumeReplicator> replicator_;
};

TEST_F(PromotedTest, IsSaidAndTriedRarelyUntilDrIsAStandbyAgain) {
  sink_.promoted = true;
  Make("b");
  replicator_->OnHint("b", HintKind::kPath, /*at_once=*/true);
  EXPECT_TRUE(absl::IsFailedPrecondition(replicator_->Run(sink_, {})));
  EXPECT_TRUE(replicator_->held_back()) << "else the lane says it each time";
  EXPECT_EQ(ToString(replicator_->Status().state), "promoted");
  EXPECT_THAT(replicator_->Status().error, HasSubstr("do this"));
  const int openings = sink_.openings;
  replicator_->OnHint("b", HintKind::kPath, /*at_once=*/true);
  EXPECT_GE(*replicator_->NextRun() - clock_.Monotonic(), absl::Seconds(20)) << "a hint changes nothing";
  clock_.passed += absl::Minutes(1);
  EXPECT_LE(*replicator_->NextRun(), clock_.Monotonic());
  EXPECT_FALSE(replicator_->Run(sink_, {}).ok());
  EXPECT_EQ(sink_.openings, openings + 1) << "one question, and nothing else";

  // Who asks for a barrier has it tried at once, and is told.
  const uint64_t barrier = replicator_->RequestBarrier();
  EXPECT_LE(*replicator_->NextRun(), clock_.Monotonic());
  EXPECT_FALSE(replicator_->Run(sink_, {}).ok());
  EXPECT_FALSE(replicator_->AwaitBarrier(barrier, false, absl::ZeroDuration()));
  const absl::Status refusal = replicator_->BarrierRefusal(barrier);
  EXPECT_TRUE(absl::IsFailedPrecondition(refusal));
  EXPECT_THAT(std::string(refusal.message()), HasSubstr("do this"));

  sink_.promoted = false;
  const model::Sequence before = sink_.sequence();
  ASSERT_TRUE(RunToBarrier(*replicator_, sink_, /*published=*/false).ok());
  EXPECT_GT(sink_.sequence(), before);
  EXPECT_NE(ToString(replicator_->Status().state), "promoted");
  EXPECT_EQ(replicator_->Status().error, "");
}

TEST_F(PromotedTest, ANewConnectionAsksAtOnce) {
  sink_.promoted = true;
  replicator_->ForgetSession();
  EXPECT_FALSE(replicator_->Run(sink_, {}).ok());
  EXPECT_GT(*replicator_->NextRun(), clock_.Monotonic());
  replicator_->ForgetSession();
  EXPECT_LE(*replicator_->NextRun(), clock_.Monotonic());
}

TEST_F(PromotedTest, TwoReasonsForAPauseAreTakenBackOneByOne) {
  replicator_->Pause(PauseReason::kReclaim);
  replicator_->Pause(PauseReason::kOperator, absl::ToUnixNanos(clock_.Now()));
  replicator_->Resume(PauseReason::kReclaim);
  EXPECT_EQ(ToString(replicator_->Status().state), "paused");
  EXPECT_THAT(replicator_->Status().paused_reason, HasSubstr("drctl volumes resume web"));
  EXPECT_EQ(replicator_->NextRun(), std::nullopt);
  replicator_->Resume(PauseReason::kOperator);
  EXPECT_TRUE(replicator_->NextRun().has_value());
  EXPECT_EQ(replicator_->Status().paused_reason, "");
}

TEST_F(PromotedTest, TheLagOfAPausedVolumeGrows) {
  replicator_->Pause(PauseReason::kOperator, absl::ToUnixNanos(clock_.Now()));
  EXPECT_EQ(replicator_->Status().lag_seconds, 0) << "nothing changed";
  clock_.passed += absl::Minutes(1);
  replicator_->OnHint("a", HintKind::kPath, /*at_once=*/true);
  clock_.passed += absl::Minutes(5);
  EXPECT_EQ(replicator_->Status().lag_seconds, 300);
  EXPECT_TRUE(absl::IsFailedPrecondition(replicator_->RequestApproval(kDeletionGuard, 1).status()));
}

TEST_F(PromotedTest, AfterARestartTheDataCountsAsOldAsThePauseUntilAllWasLookedAt) {
  const int64_t since = absl::ToUnixNanos(clock_.Now());
  replicator_.reset();
  clock_.passed += absl::Hours(1);
  replicator_ = Open();
  replicator_->Pause(PauseReason::kOperator, since, /*restored=*/true);
  EXPECT_EQ(replicator_->Status().lag_seconds, 3600);
  EXPECT_EQ(replicator_->Status().paused_since_nanoseconds, since);
  replicator_->Resume(PauseReason::kOperator);
  EXPECT_EQ(replicator_->Status().lag_seconds, 3600) << "nobody looked yet";
  ASSERT_TRUE(RunToBarrier(*replicator_, sink_, /*published=*/false).ok());
  EXPECT_EQ(replicator_->Status().lag_seconds, 0);
}

TEST(PausedVolumesTest, AreRememberedWithTheirFirstTime) {
  const tests::TempDir dir;
  {
    const auto paused = PausedVolumes::Open(dir.File("paused.db")).value();
    EXPECT_EQ(paused->PausedSince("web"), 0);
    EXPECT_EQ(paused->Pause("web", 5).value(), 5);
    EXPECT_EQ(paused->Pause("web", 9).value(), 5);
    EXPECT_EQ(paused->Pause("db", 7).value(), 7);
    EXPECT_TRUE(paused->Resume("db").ok());
    EXPECT_TRUE(paused->Resume("db").ok());
  }
  const auto paused = PausedVolumes::Open(dir.File("paused.db")).value();
  EXPECT_EQ(paused->PausedSince("web"), 5);
  EXPECT_EQ(paused->PausedSince("db"), 0);
}

}  // namespace
}  // namespace understudy::primary
