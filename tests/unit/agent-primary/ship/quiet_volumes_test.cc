#include "agent-primary/ship/quiet_volumes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::primary {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

absl::Time At(int seconds) {
  return absl::FromUnixSeconds(1'700'000'000 + seconds);
}

VolumeReport Idle() {
  VolumeReport report;
  report.name = "web";
  report.status.state = ReplicationState::kIdle;
  report.status.complete = true;
  report.status.epoch = 1;
  report.status.sequence = 7;
  return report;
}

TEST(QuietVolumes, CountFromTheSecondLookAsOfTheOneBefore) {
  QuietVolumes quiet;
  EXPECT_THAT(quiet.Look(At(0), {Idle()}), IsEmpty());
  const model::Confirmation first{.volume = "web", .epoch = 1, .sequence = 7, .as_of = At(0)};
  EXPECT_THAT(quiet.Look(At(5), {Idle()}), ElementsAre(first));
  model::Confirmation second = first;
  second.as_of = At(5);
  EXPECT_THAT(quiet.Look(At(10), {Idle()}), ElementsAre(second));
}

TEST(QuietVolumes, WhatIsOutstandingOrNotKnownIsntQuiet) {
  for (void (*const spoil)(ReplicatorStatus&) : std::initializer_list<void (*)(ReplicatorStatus&)>{
           [](ReplicatorStatus& s) { s.state = ReplicationState::kReplicating; },
           [](ReplicatorStatus& s) { s.state = ReplicationState::kPaused; },
           [](ReplicatorStatus& s) { s.complete = false; }, [](ReplicatorStatus& s) { s.lag_seconds = 0.1; },
           [](ReplicatorStatus& s) { s.error = "not all of it is watched"; }}) {
    QuietVolumes quiet;
    VolumeReport spoiled = Idle();
    spoil(spoiled.status);
    (void)quiet.Look(At(0), {Idle()});
    EXPECT_THAT(quiet.Look(At(5), {spoiled}), IsEmpty());
    EXPECT_THAT(quiet.Look(At(10), {Idle()}), IsEmpty()) << "quiet since just now";
  }
}

TEST(QuietVolumes, ACommitBetweenTwoLooksOrAClockThatWasSetBackBeginsAnew) {
  QuietVolumes quiet;
  (void)quiet.Look(At(0), {Idle()});
  VolumeReport next = Idle();
  ++next.status.sequence;
  EXPECT_THAT(quiet.Look(At(5), {next}), IsEmpty());
  EXPECT_THAT(quiet.Look(At(4), {next}), IsEmpty());
}

}  // namespace
}  // namespace understudy::primary
