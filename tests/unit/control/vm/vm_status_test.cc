// What is read from KubeVirt's objects, and the patches that stop and start.
#include "control/vm/vm_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::control {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

json Machine(const json& spec, const json& status = json::object()) {
  return {{"metadata", {{"namespace", "shop"}, {"name", "db"}, {"uid", "u-1"}}}, {"spec", spec}, {"status", status}};
}

json Instance(const std::string& phase, const json& more = json::object()) {
  json instance = {{"metadata", {{"namespace", "shop"}, {"name", "db"}}}, {"status", {{"phase", phase}}}};
  instance["status"].update(more);
  return instance;
}

json Strategy(const std::string& strategy) {
  return {{"runStrategy", strategy}};
}

TEST(VmStatusTest, EverythingThatKubeVirtTellsIsTaken) {
  const json machine = Machine(Strategy("Always"), {{"printableStatus", "Running"}});
  const json instance = Instance(
      "Running",
      {{"nodeName", "node-2"},
       {"fsFreezeStatus", "frozen"},
       {"conditions", {{{"type", "Ready"}, {"status", "True"}}, {{"type", "AgentConnected"}, {"status", "True"}}}},
       {"interfaces",
        {{{"ipAddress", "10.1.2.3"}, {"ipAddresses", {"10.1.2.3", "fd00::3"}}},
         {{"name", "bare"}},
         {{"ipAddress", "192.0.2.9"}}}}});
  const VmStatus status = StatusOfVm(machine, &instance);
  EXPECT_EQ(ToString(status.key), "shop/db");
  EXPECT_EQ(status.uid, "u-1");
  EXPECT_EQ(status.run_strategy, "Always");
  EXPECT_FALSE(status.has_running_field);
  EXPECT_TRUE(status.wants_running);
  EXPECT_EQ(status.printable_status, "Running");
  EXPECT_TRUE(status.has_instance && status.ready && status.agent_connected);
  EXPECT_EQ(status.instance_phase, "Running");
  EXPECT_EQ(status.fs_freeze, "frozen");
  EXPECT_EQ(status.node, "node-2");
  EXPECT_THAT(status.ip_addresses, ElementsAre("10.1.2.3", "fd00::3", "192.0.2.9"));
  EXPECT_EQ(status.problem, "");
}

TEST(VmStatusTest, WhatIsOfAnotherKindCountsAsEmpty) {
  const json machine = {{"metadata", {{"name", 7}}}, {"spec", "odd"}, {"status", {{"printableStatus", {1, 2}}}}};
  const json instance = {{"status", {{"phase", 1}, {"conditions", "none"}, {"interfaces", {1, {{"ipAddress", 4}}}}}}};
  const VmStatus status = StatusOfVm(machine, &instance);
  EXPECT_EQ(status.key.name, "");
  EXPECT_EQ(status.run_strategy, "Halted");
  EXPECT_EQ(status.printable_status, "");
  EXPECT_TRUE(status.has_instance);
  EXPECT_FALSE(status.ready);
  EXPECT_THAT(status.ip_addresses, IsEmpty());
  EXPECT_FALSE(StatusOfVm(json(), nullptr).wants_running);
  const json empty_list = json::array();
  EXPECT_TRUE(StatusOfVm(json::array(), &empty_list).has_instance);
}

TEST(VmStatusTest, TheRunningFieldIsARunStrategy) {
  const VmStatus on = StatusOfVm(Machine({{"running", true}}), nullptr);
  EXPECT_TRUE(on.has_running_field);
  EXPECT_EQ(on.run_strategy, "Always");
  EXPECT_TRUE(on.wants_running);
  const VmStatus off = StatusOfVm(Machine({{"running", false}}), nullptr);
  EXPECT_TRUE(off.has_running_field);
  EXPECT_EQ(off.run_strategy, "Halted");
  EXPECT_FALSE(off.wants_running);
}

// Whether an instance is there or to come.
bool Wants(const std::string& strategy, const std::string& phase, const json& status = json::object()) {
  const json machine = Machine(Strategy(strategy), status);
  const json instance = Instance(phase);
  return StatusOfVm(machine, phase.empty() ? nullptr : &instance).wants_running;
}

TEST(VmStatusTest, EachStrategySaysWhetherAnInstanceIsToCome) {
  const json at_rest = {{"printableStatus", "Stopped"}};
  const json asked_to_stop = {{"stateChangeRequests", {{{"action", "Stop"}}}}};
  const json asked_to_start = {{"printableStatus", "Stopped"}, {"stateChangeRequests", {{{"action", "Start"}}}}};
  EXPECT_TRUE(Wants("Always", ""));
  EXPECT_TRUE(Wants("Always", "Failed"));
  EXPECT_FALSE(Wants("Halted", ""));
  EXPECT_FALSE(Wants("Halted", "Running"));

  EXPECT_FALSE(Wants("Manual", ""));
  EXPECT_TRUE(Wants("Manual", "Running"));
  EXPECT_FALSE(Wants("Manual", "Succeeded"));
  EXPECT_FALSE(Wants("Manual", "Running", asked_to_stop));
  EXPECT_TRUE(Wants("Manual", "", asked_to_start));

  EXPECT_TRUE(Wants("RerunOnFailure", ""));
  EXPECT_FALSE(Wants("RerunOnFailure", "", at_rest));
  EXPECT_TRUE(Wants("RerunOnFailure", "", asked_to_start));
  EXPECT_TRUE(Wants("RerunOnFailure", "Running"));
  EXPECT_FALSE(Wants("RerunOnFailure", "Running", asked_to_stop));
  EXPECT_FALSE(Wants("RerunOnFailure", "Succeeded"));
  EXPECT_TRUE(Wants("RerunOnFailure", "Failed"));
  EXPECT_FALSE(Wants("Once", "Failed"));
  EXPECT_TRUE(Wants("Once", "Scheduling"));
}

std::string ProblemOf(const json& machine_status, const json& instance_status) {
  const json machine = Machine(Strategy("Always"), machine_status);
  if (instance_status.is_null()) return StatusOfVm(machine, nullptr).problem;
  const json instance = Instance("Running", instance_status);
  return StatusOfVm(machine, &instance).problem;
}

TEST(VmStatusTest, KubeVirtsComplaintsAreTold) {
  EXPECT_EQ(ProblemOf({{"conditions", {{{"type", "Failure"}, {"status", "True"}, {"message", "no claim"}}}}}, nullptr),
            "no claim");
  EXPECT_EQ(ProblemOf(json::object(),
                      {{"conditions", {{{"type", "Synchronized"}, {"status", "False"}, {"message", "no hugepages"}}}}}),
            "no hugepages");
  EXPECT_EQ(ProblemOf(json::object(),
                      {{"conditions", {{{"type", "Ready"}, {"status", "True"}, {"message", "all is well"}}}}}),
            "");
  EXPECT_EQ(ProblemOf({{"startFailure", {{"consecutiveFailCount", 3}}}}, nullptr),
            "it failed to start 3 times in a row");
  json machine = Machine(Strategy("Always"));
  machine["metadata"]["deletionTimestamp"] = "2026-11-29T22:00:00Z";
  EXPECT_EQ(StatusOfVm(machine, nullptr).problem, "the machine is being deleted");
}

TEST(VmStatusTest, ARecordSaysHowTheMachineRan) {
  const json instance = Instance("Running");
  const StopRecord manual = RecordOf(StatusOfVm(Machine(Strategy("Manual")), &instance));
  EXPECT_EQ(manual.previous_run_strategy, "Manual");
  EXPECT_TRUE(manual.was_running);
  EXPECT_EQ(manual.via, StopRecord::Via::kNothing);
  EXPECT_FALSE(RecordOf(StatusOfVm(Machine(Strategy("Manual")), nullptr)).was_running);
  EXPECT_TRUE(RecordOf(StatusOfVm(Machine({{"running", true}}), nullptr)).was_running);
}

TEST(VmStatusTest, APatchTouchesTheFieldThatIsThereAndNeverLeavesTwo) {
  const VmStatus by_field = StatusOfVm(Machine({{"running", true}}), nullptr);
  const VmStatus by_strategy = StatusOfVm(Machine(Strategy("Always")), nullptr);
  EXPECT_EQ(StoppingSpec(by_field), json({{"running", false}}));
  EXPECT_EQ(StoppingSpec(by_strategy), json({{"runStrategy", "Halted"}}));
  // A machine that says nothing at all can only have gained the newer field.
  EXPECT_EQ(StoppingSpec(StatusOfVm(Machine(json::object()), nullptr)), json({{"runStrategy", "Halted"}}));

  const VmStatus halted_field = StatusOfVm(Machine({{"running", false}}), nullptr);
  const VmStatus halted = StatusOfVm(Machine(Strategy("Halted")), nullptr);
  EXPECT_EQ(StrategySpec(halted_field, "Always"), json({{"running", true}}));
  EXPECT_EQ(StrategySpec(halted_field, "Manual"), json({{"running", nullptr}, {"runStrategy", "Manual"}}));
  EXPECT_EQ(StrategySpec(halted, "RerunOnFailure"), json({{"runStrategy", "RerunOnFailure"}}));
  EXPECT_TRUE(StrategySpec(by_strategy, "Always").empty());
  EXPECT_TRUE(StrategySpec(by_field, "Always").empty());
}

}  // namespace
}  // namespace understudy::control
