// The schedule is kept: what is missed is made up once, and no run is made twice.
#include "control/sync/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy::control {
namespace {

absl::Time At(int64_t minutes) {
  return absl::UnixEpoch() + absl::Minutes(minutes);
}

CronSchedule Hourly() {
  return *ParseSchedule("@hourly", "UTC");
}

TEST(DueTest, SaysWhetherARunIsDueAndWhenTheNextOneIs) {
  EXPECT_FALSE(DueAt(Hourly(), At(60), At(119)).now);
  EXPECT_EQ(DueAt(Hourly(), At(60), At(119)).next, At(120));
  EXPECT_TRUE(DueAt(Hourly(), At(60), At(120)).now);
  EXPECT_TRUE(DueAt(Hourly(), At(60), At(1000)).now) << "once, for many";
  EXPECT_EQ(DueAt(Hourly(), At(60), At(1000)).next, At(120));
}

TEST(DueTest, AClockThatWasSetBackFarDoesntStopTheSchedule) {
  EXPECT_EQ(AfterSettingTheClock(At(100'000), At(61)), At(61));
  EXPECT_EQ(AfterSettingTheClock(At(62), At(61)), At(62)) << "a little makes no run twice";
  EXPECT_EQ(AfterSettingTheClock(At(60), At(61)), At(60));
}

class SchedulerTest : public testing::Test {
 protected:
  SchedulerTest() : state_(*SyncState::Open(folder_.Path())) {}

  // Serves with a schedule that isn't due again during the test.
  void Serve() {
    scheduler_.emplace(*ParseSchedule("0 0 1 1 *", "UTC"), *state_,
                       [this](const RunLease&, bool made_up, std::stop_token stop) {
                         made_up_ = made_up;
                         ++runs_;
                         while (hold_ && !stop.stop_requested()) std::this_thread::yield();
                       });
    thread_ = std::jthread([this](std::stop_token stop) { scheduler_->Run(std::move(stop)); });
  }
  void Stop() {
    thread_.request_stop();
    thread_.join();
  }
  void ExpectNextDueKnown() {
    EXPECT_EQ(tests::WaitFor("the next run to be known", absl::Seconds(30),
                             [this] { return scheduler_->NextDue().value_or(absl::InfinitePast()) > absl::Now(); }),
              absl::OkStatus());
  }

  tests::TempDir folder_;
  std::unique_ptr<SyncState> state_;
  std::atomic<int> runs_ = 0;
  std::atomic<bool> made_up_ = false;
  std::atomic<bool> hold_ = false;
  std::optional<Scheduler> scheduler_;
  std::jthread thread_;
};

TEST_F(SchedulerTest, AScheduleThatNeverRanMakesNothingUp) {
  Serve();
  ExpectNextDueKnown();
  Stop();
  EXPECT_EQ(runs_, 0);
  EXPECT_TRUE(state_->ScheduleKeptUntil()->has_value());
}

TEST_F(SchedulerTest, WhatWasMissedForYearsIsMadeUpOnce) {
  ASSERT_EQ(state_->SetScheduleKeptUntil(absl::Now() - absl::Hours(24 * 365 * 3)), absl::OkStatus());
  Serve();
  EXPECT_EQ(tests::WaitFor("the run", absl::Seconds(30), [this] { return runs_ == 1; }), absl::OkStatus());
  EXPECT_TRUE(made_up_);
  ExpectNextDueKnown();
  Stop();
  Serve();
  ExpectNextDueKnown();
  Stop();
  EXPECT_EQ(runs_, 1) << "not again after a restart";
}

TEST_F(SchedulerTest, ARunThatWasStoppedIsDueAgain) {
  ASSERT_EQ(state_->SetScheduleKeptUntil(absl::Now() - absl::Hours(24 * 365 * 3)), absl::OkStatus());
  hold_ = true;
  Serve();
  EXPECT_EQ(tests::WaitFor("the run", absl::Seconds(30), [this] { return runs_ == 1; }), absl::OkStatus());
  Stop();
  hold_ = false;
  Serve();
  EXPECT_EQ(tests::WaitFor("the run", absl::Seconds(30), [this] { return runs_ == 2; }), absl::OkStatus());
}

TEST_F(SchedulerTest, ADueRunWaitsForTheOneThatIsUnderWay) {
  ASSERT_EQ(state_->SetScheduleKeptUntil(absl::Now() - absl::Hours(24 * 365 * 3)), absl::OkStatus());
  {
    const auto lease = state_->Lease();
    ASSERT_TRUE(lease.ok());
    Serve();
    EXPECT_EQ(
        tests::WaitFor("it to be looked at", absl::Seconds(30), [this] { return scheduler_->NextDue().has_value(); }),
        absl::OkStatus());
    EXPECT_EQ(runs_, 0);
  }
  EXPECT_EQ(tests::WaitFor("the run", absl::Seconds(30), [this] { return runs_ == 1; }), absl::OkStatus());
}

}  // namespace
}  // namespace understudy::control
