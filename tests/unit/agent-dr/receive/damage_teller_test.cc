// A primary that doesn't read is nobody's trouble but its own.
#include "agent-dr/receive/damage_teller.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>

#include "absl/synchronization/notification.h"
#include "agent-dr/receive/volume_receiver.h"
#include "tests/support/wait.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::dr {
namespace {

class DamageTellerTest : public ::testing::Test {
 protected:
  // Of a primary that takes nothing of what it is told of damage before `reads_`.
  void Write(const v1::ReplicateResponse& response) {
    if (!response.has_damaged()) return;
    begun_ = true;
    // Whoever waits here all the same goes on in the end, so that the test fails instead of hanging.
    if (!reads_.WaitForNotificationWithTimeout(absl::Seconds(20))) waited_in_vain_ = true;
    ++told_;
  }
  absl::Status AwaitTold(size_t count) {
    return tests::WaitFor("what was told", absl::Seconds(30), [&] { return told_ >= count; });
  }

  absl::Notification reads_;
  std::atomic<bool> begun_{false};
  std::atomic<bool> waited_in_vain_{false};
  std::atomic<size_t> told_{0};
};

TEST_F(DamageTellerTest, NeitherTheScrubNorTheNextSessionWaitsForIt) {
  tests::DrHost host;
  const auto engine = host.Start();
  DamageTeller teller([&](const v1::ReplicateResponse& response) { Write(response); });
  const auto open = [&](std::optional<VolumeReceiver>& receiver) {
    receiver.emplace(
        *engine, [&](const v1::ReplicateResponse& response) { Write(response); },
        [&](const v1::ReplicateResponse& response) { teller.Tell(response); });
    v1::ReplicateRequest request;
    request.mutable_open()->set_volume("vol");
    request.mutable_open()->set_root(host.RootOf("vol"));
    receiver->Receive(request);
  };
  std::optional<VolumeReceiver> first;
  open(first);
  const auto replica = *engine->FindReplica("vol");
  for (const char* const path : {"a", "b", "c"}) EXPECT_TRUE(replica->TellDamage({path, 1, std::nullopt}));
  std::optional<VolumeReceiver> second;
  open(second);
  EXPECT_TRUE(replica->TellDamage({"d", 1, std::nullopt}));
  EXPECT_FALSE(waited_in_vain_);
  reads_.Notify();
  EXPECT_TRUE(AwaitTold(4).ok());
}

TEST_F(DamageTellerTest, WhatWaitsIsBounded) {
  DamageTeller teller([&](const v1::ReplicateResponse& response) { Write(response); });
  v1::ReplicateResponse response;
  response.mutable_damaged()->set_volume("vol");
  teller.Tell(response);
  ASSERT_TRUE(tests::WaitFor("the first to be written", absl::Seconds(30), [&] { return begun_.load(); }).ok());
  for (size_t i = 0; i < kMaxUntoldDamage + 100; ++i) teller.Tell(response);
  reads_.Notify();
  EXPECT_TRUE(AwaitTold(1 + kMaxUntoldDamage).ok());
  teller.Tell(response);
  EXPECT_TRUE(AwaitTold(2 + kMaxUntoldDamage).ok());
  EXPECT_EQ(told_, 2 + kMaxUntoldDamage);
}

}  // namespace
}  // namespace understudy::dr
