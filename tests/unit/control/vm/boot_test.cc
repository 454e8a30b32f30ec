// Waiting for machines to stop, and starting them group by group.
#include "control/vm/boot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/mutex.h"
#include "control/vm/vm_settings.h"
#include "tests/support/memory_machines.h"

namespace understudy::control {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using tests::MemoryMachines;

// A clock that every look at the cluster moves on. Thread-safe.
class LookClock : public Clock {
 public:
  [[nodiscard]] absl::Time Now() const override { return absl::UnixEpoch() + Monotonic(); }
  [[nodiscard]] absl::Duration Monotonic() const override {
    const absl::MutexLock lock(&mutex_);
    return passed_;
  }
  void Advance(absl::Duration by) {
    const absl::MutexLock lock(&mutex_);
    passed_ += by;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Duration passed_ ABSL_GUARDED_BY(mutex_);
};

class BootTest : public testing::Test {
 protected:
  BootTest() {
    machines_.OnList([this] { clock_.Advance(absl::Seconds(1)); });
  }

  static VmKey Key(const std::string& name) { return {"shop", name}; }
  std::vector<BootVm> Add(std::initializer_list<std::string> names) {
    std::vector<BootVm> vms;
    for (const std::string& name : names) {
      machines_.Add(Key(name));
      vms.push_back({.key = Key(name), .run_strategy = kRunAlways});
    }
    return vms;
  }
  static BootGroup Group(std::initializer_list<std::string> globs) {
    BootGroup group;
    group.vms = globs;
    group.timeout = absl::Seconds(60);
    return group;
  }
  absl::StatusOr<std::vector<VmBoot>> Run(const std::vector<BootVm>& vms, const BootOrder& order,
                                          std::stop_token stop = {}) {
    return Boot(machines_, vms, order, stop, on_change_, options_, clock_);
  }
  absl::Status WaitFor(const std::vector<VmKey>& keys, absl::Duration timeout, std::stop_token stop = {}) {
    return WaitStopped(machines_, keys, timeout, stop, on_change_, options_, clock_);
  }
  static std::vector<std::string> Names(const std::vector<VmKey>& keys) {
    std::vector<std::string> names;
    for (const VmKey& key : keys) names.push_back(key.name);
    return names;
  }
  static std::vector<std::string> Outcomes(const std::vector<VmBoot>& boots) {
    std::vector<std::string> outcomes;
    for (const VmBoot& boot : boots) outcomes.push_back(boot.key.name + " " + std::string(ToString(boot.outcome)));
    return outcomes;
  }

  MemoryMachines machines_;
  LookClock clock_;
  OnVmChange on_change_;
  VmWaitOptions options_{.poll_interval = absl::Milliseconds(1), .bad_after = absl::Seconds(5)};
};

TEST(MatchesVmTest, StarsStandForAnythingAndMarksForOne) {
  const VmKey key{"shop", "db-1"};
  for (const char* glob : {"shop/db-1", "shop/db-*", "*", "*/db-?", "shop/*", "s*1", "sh?p/db-1", "*db*", "**-1"}) {
    EXPECT_TRUE(MatchesVm(glob, key)) << glob;
  }
  for (const char* glob :
       {"", "db-1", "shop/db", "shop/db-", "shop/db-??", "?", "shop", "*/web*", "shop/db-1x", "x*"}) {
    EXPECT_FALSE(MatchesVm(glob, key)) << glob;
  }
}

TEST(GroupsOfTest, TheFirstGroupThatFitsCountsAndTheRestComesLast) {
  BootOrder order;
  order.groups = {{.vms = {"shop/db-*"}}, {.vms = {"*/web", "shop/db-1"}}};
  const std::vector<BootVm> vms = {{.key = {"shop", "other"}, .run_strategy = ""},
                                   {.key = {"bank", "web"}, .run_strategy = ""},
                                   {.key = {"shop", "db-1"}, .run_strategy = ""}};
  EXPECT_THAT(GroupsOf(order, vms), ElementsAre(2, 1, 0));
}

TEST(VmSettingsTest, SettingsBecomeGroupsAndProbes) {
  config::BootGroupConfig group;
  group.vms = {"shop/*"};
  group.expect_agent = true;
  group.pause_after = absl::Seconds(3);
  EXPECT_EQ(BootGroupOf(group).vms, group.vms);
  EXPECT_TRUE(BootGroupOf(group).expect_agent);
  EXPECT_EQ(BootGroupOf(group).timeout, absl::Minutes(10));
  EXPECT_EQ(BootGroupOf(group).pause_after, absl::Seconds(3));

  config::ProbeConfig settings;
  settings.vms = {"*"};
  settings.timeout = absl::Seconds(9);
  EXPECT_THAT(ProbesOf(settings), IsEmpty());
  settings.tcp.emplace().port = 22;
  settings.http.emplace().status = 204;
  settings.ssh.emplace().exit_code = 2;
  settings.guest_agent = true;
  const std::vector<Probe> probes = ProbesOf(settings);
  std::vector<std::string> kinds;
  for (const Probe& probe : probes) {
    kinds.emplace_back(KindOf(probe));
    EXPECT_EQ(probe.timeout, absl::Seconds(9));
    EXPECT_EQ(probe.vms, settings.vms);
  }
  EXPECT_THAT(kinds, ElementsAre("tcp", "http", "ssh", "guest-agent"));
  EXPECT_EQ(std::get<TcpProbe>(probes[0].what).port, 22);
  EXPECT_EQ(std::get<HttpProbe>(probes[1].what).status, 204);
  EXPECT_EQ(std::get<SshProbe>(probes[2].what).exit_code, 2);
}

TEST_F(BootTest, AGroupIsStartedWhenTheOneBeforeIsWell) {
  const std::vector<BootVm> vms = Add({"web", "db", "cache", "job"});
  machines_.SetPace(Key("db"), 5, 0);
  BootOrder order;
  order.groups = {Group({"shop/db"}), Group({"shop/cache", "shop/w*"})};
  bool early = false;
  on_change_ = [&](const VmStatus& status, const VmVerdict& verdict) {
    if (status.key == Key("db") && verdict.state != Wellbeing::kWell) early = early || machines_.Started().size() > 1;
  };
  const auto boots = Run(vms, order);
  ASSERT_TRUE(boots.ok()) << boots.status();
  EXPECT_THAT(Names(machines_.Started()), ElementsAre("db", "web", "cache", "job"));
  EXPECT_FALSE(early);
  EXPECT_THAT(Outcomes(*boots), ElementsAre("web well", "db well", "cache well", "job well"));
  EXPECT_EQ((*boots)[0].group, 1);
  EXPECT_EQ((*boots)[3].group, 2);
  EXPECT_GT((*boots)[1].took, absl::ZeroDuration());
}

TEST_F(BootTest, AMachineThatWasHaltedBeforeIsLeftStopped) {
  std::vector<BootVm> vms = Add({"db", "old"});
  vms[1].run_strategy = kRunHalted;
  const auto boots = Run(vms, {});
  ASSERT_TRUE(boots.ok()) << boots.status();
  EXPECT_THAT(Outcomes(*boots), ElementsAre("db well", "old left stopped"));
  EXPECT_THAT(Names(machines_.Started()), ElementsAre("db"));
}

TEST_F(BootTest, ABrokenMachineIsToldAndTheOthersGoOn) {
  const std::vector<BootVm> vms = Add({"a", "b", "c"});
  machines_.Break(Key("a"), "CrashLoopBackOff");
  BootOrder order;
  order.groups = {Group({"shop/a", "shop/b"})};
  const auto boots = Run(vms, order);
  ASSERT_TRUE(boots.ok()) << boots.status();
  EXPECT_THAT(Outcomes(*boots), ElementsAre("a bad", "b well", "c well"));
  EXPECT_THAT((*boots)[0].reason, HasSubstr("CrashLoopBackOff"));
  EXPECT_GE((*boots)[0].took, options_.bad_after);
}

TEST_F(BootTest, ABrokenGroupStopsTheBootWhereThatIsThePolicy) {
  const std::vector<BootVm> vms = Add({"a", "b", "c"});
  machines_.Break(Key("a"), "ErrorPvcNotFound");
  BootOrder order;
  order.groups = {Group({"shop/a", "shop/b"})};
  order.on_broken = OnBroken::kStop;
  const auto boots = Run(vms, order);
  ASSERT_TRUE(boots.ok()) << boots.status();
  EXPECT_THAT(Outcomes(*boots), ElementsAre("a bad", "b well", "c not started"));
  EXPECT_THAT((*boots)[2].reason, HasSubstr("shop/a"));
  EXPECT_THAT(Names(machines_.Started()), Not(testing::Contains("c")));
}

TEST_F(BootTest, ABadStateThatPassesIsNone) {
  const std::vector<BootVm> vms = Add({"a"});
  machines_.Break(Key("a"), "ErrorUnschedulable");
  int told_bad = 0;
  on_change_ = [&](const VmStatus&, const VmVerdict& verdict) {
    if (verdict.state != Wellbeing::kBad) return;
    ++told_bad;
    machines_.Break(Key("a"), "");
  };
  const auto boots = Run(vms, {});
  ASSERT_TRUE(boots.ok()) << boots.status();
  EXPECT_THAT(Outcomes(*boots), ElementsAre("a well"));
  EXPECT_EQ(told_bad, 1);
}

TEST_F(BootTest, AMachineThatNeverGetsWellTimesOutWithWhatItWaitsFor) {
  const std::vector<BootVm> vms = Add({"a", "b"});
  machines_.SetPace(Key("a"), -1, 0);
  BootOrder order;
  order.rest.timeout = absl::Seconds(20);
  const auto boots = Run(vms, order);
  ASSERT_TRUE(boots.ok()) << boots.status();
  EXPECT_THAT(Outcomes(*boots), ElementsAre("a timed out", "b well"));
  EXPECT_THAT((*boots)[0].reason, HasSubstr("waits for an instance"));
}

TEST_F(BootTest, AnAgentIsWaitedForWhereTheGroupExpectsOne) {
  const std::vector<BootVm> vms = Add({"with", "without"});
  machines_.SetAgent(Key("with"), true);
  BootOrder order;
  order.groups = {Group({"*"})};
  order.groups[0].expect_agent = true;
  const auto boots = Run(vms, order);
  ASSERT_TRUE(boots.ok()) << boots.status();
  EXPECT_THAT(Outcomes(*boots), ElementsAre("with well", "without timed out"));
  EXPECT_THAT((*boots)[1].reason, HasSubstr("agent"));
}

TEST_F(BootTest, WhatRunsAlreadyIsLeftAloneAndAGoneMachineTimesOut) {
  std::vector<BootVm> vms = Add({"a"});
  machines_.Add(Key("runs"), kRunAlways);
  vms.push_back({.key = Key("runs"), .run_strategy = kRunAlways});
  const auto boots = Run(vms, {});
  ASSERT_TRUE(boots.ok()) << boots.status();
  EXPECT_THAT(Outcomes(*boots), ElementsAre("a well", "runs well"));
  EXPECT_THAT(Names(machines_.Started()), ElementsAre("a"));
  const auto gone = Run({{.key = Key("gone"), .run_strategy = kRunAlways}}, {});
  ASSERT_TRUE(gone.ok()) << gone.status();
  EXPECT_EQ((*gone)[0].outcome, BootOutcome::kBad);
  EXPECT_THAT((*gone)[0].reason, HasSubstr("not found"));
}

TEST_F(BootTest, ARefusedStartIsBadAndOneThatMayPassIsTriedAgain) {
  const std::vector<BootVm> vms = Add({"refused", "late"});
  machines_.FailStart(Key("refused"), absl::PermissionDeniedError("no rights"));
  machines_.FailStart(Key("late"), absl::UnavailableError("virt-api is away"), /*times=*/3);
  const auto boots = Run(vms, {});
  ASSERT_TRUE(boots.ok()) << boots.status();
  EXPECT_THAT(Outcomes(*boots), ElementsAre("refused bad", "late well"));
  EXPECT_THAT((*boots)[0].reason, HasSubstr("no rights"));
}

TEST_F(BootTest, AClusterThatCantBeAskedIsAskedAgainUntilTheTimeIsOver) {
  const std::vector<BootVm> vms = Add({"a"});
  machines_.FailList(absl::UnavailableError("the API server is away"));
  const auto boots = Run(vms, {});
  ASSERT_TRUE(boots.ok()) << boots.status();
  EXPECT_EQ((*boots)[0].outcome, BootOutcome::kTimedOut);
  EXPECT_THAT((*boots)[0].reason, HasSubstr("API server is away"));
  machines_.FailList(absl::PermissionDeniedError("no rights"));
  machines_.Add(Key("b"));
  EXPECT_TRUE(absl::IsPermissionDenied(Run({{.key = Key("b"), .run_strategy = kRunAlways}}, {}).status()));
}

TEST_F(BootTest, AStopEndsTheBoot) {
  const std::vector<BootVm> vms = Add({"a"});
  machines_.SetPace(Key("a"), -1, 0);
  std::stop_source stop;
  on_change_ = [&](const VmStatus&, const VmVerdict&) { stop.request_stop(); };
  EXPECT_TRUE(absl::IsCancelled(Run(vms, {}, stop.get_token()).status()));
}

TEST_F(BootTest, StoppedIsWhenEveryMachineIs) {
  machines_.Add(Key("a"), kRunAlways);
  machines_.Add(Key("b"), kRunAlways);
  machines_.SetPace(Key("b"), 0, 4);
  for (const char* name : {"a", "b"}) ASSERT_TRUE(machines_.Stop(Key(name)).ok());
  std::vector<std::string> told;
  on_change_ = [&](const VmStatus& status, const VmVerdict& verdict) {
    told.push_back(status.key.name + " " + std::string(ToString(verdict.state)));
  };
  EXPECT_EQ(WaitFor({Key("a"), Key("b"), Key("gone")}, absl::Minutes(1)), absl::OkStatus());
  EXPECT_THAT(told, ElementsAre("a stopped", "b not yet", "b stopped"));
}

TEST_F(BootTest, WhatDoesntStopIsNamed) {
  machines_.Add(Key("a"), kRunAlways);
  machines_.Add(Key("b"), kRunAlways);
  machines_.SetPace(Key("a"), 0, -1);
  ASSERT_TRUE(machines_.Stop(Key("a")).ok());
  const absl::Status status = WaitFor({Key("a"), Key("b")}, absl::Seconds(10));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("shop/a: its instance is being shut down"));
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("shop/b: is wanted to run again"));
}

TEST_F(BootTest, ACancelledWaitForStoppedMachinesSaysSo) {
  machines_.Add(Key("a"), kRunAlways);
  std::stop_source stop;
  on_change_ = [&](const VmStatus&, const VmVerdict&) { stop.request_stop(); };
  EXPECT_TRUE(absl::IsCancelled(WaitFor({Key("a")}, absl::InfiniteDuration(), stop.get_token())));
}

}  // namespace
}  // namespace understudy::control
