// When a virtual machine counts as stopped, well or bad.
#include "control/vm/wellbeing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::control {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

VmStatus Running() {
  VmStatus status;
  status.run_strategy = kRunAlways;
  status.wants_running = true;
  status.printable_status = "Running";
  status.has_instance = true;
  status.instance_phase = "Running";
  status.ready = true;
  return status;
}

TEST(WellbeingTest, AMachineIsWellWhenItRunsIsReadyAndItsAgentAnswersWhereOneIsExpected) {
  VmStatus status = Running();
  EXPECT_EQ(Judge(status, {}), (VmVerdict{Wellbeing::kWell, ""}));
  EXPECT_EQ(Judge(status, {.agent = true}).state, Wellbeing::kNotYet);
  EXPECT_THAT(Judge(status, {.agent = true}).reason, HasSubstr("guest agent"));
  status.agent_connected = true;
  EXPECT_EQ(Judge(status, {.agent = true}).state, Wellbeing::kWell);
}

TEST(WellbeingTest, EachThingThatIsMissingMakesItWait) {
  const auto judged = [](auto change) {
    VmStatus status = Running();
    change(status);
    const VmVerdict verdict = Judge(status, {});
    EXPECT_THAT(verdict.reason, Not(IsEmpty()));
    return verdict.state;
  };
  EXPECT_EQ(judged([](VmStatus& status) { status.ready = false; }), Wellbeing::kNotYet);
  EXPECT_EQ(judged([](VmStatus& status) { status.instance_phase = "Scheduling"; }), Wellbeing::kNotYet);
  EXPECT_EQ(judged([](VmStatus& status) { status.printable_status = "Starting"; }), Wellbeing::kNotYet);
  EXPECT_EQ(judged([](VmStatus& status) { status.has_instance = false; }), Wellbeing::kNotYet);
  EXPECT_EQ(judged([](VmStatus& status) { status.printable_status = "Migrating"; }), Wellbeing::kNotYet);
}

TEST(WellbeingTest, BadStatesSayWhatToDoAndWhatKubeVirtSays) {
  for (const char* state : {"CrashLoopBackOff", "ErrorUnschedulable", "ErrorPvcNotFound", "DataVolumeError",
                            "ErrImagePull", "ImagePullBackOff", "Paused"}) {
    VmStatus status = Running();
    status.printable_status = state;
    status.ready = false;
    status.problem = "of its own";
    const VmVerdict verdict = Judge(status, {});
    EXPECT_EQ(verdict.state, Wellbeing::kBad) << state;
    EXPECT_THAT(verdict.reason, HasSubstr(state));
    EXPECT_THAT(verdict.reason, HasSubstr("KubeVirt: of its own"));
  }
}

TEST(WellbeingTest, StoppedIsWithoutAnInstanceAndWithoutOneToCome) {
  VmStatus status = Running();
  status.run_strategy = kRunHalted;
  status.wants_running = false;
  EXPECT_EQ(Judge(status, {}).state, Wellbeing::kNotYet);
  EXPECT_THAT(Judge(status, {}).reason, HasSubstr("shut down"));
  status.instance_phase = "Succeeded";
  EXPECT_EQ(Judge(status, {}), (VmVerdict{Wellbeing::kStopped, ""}));
  status.instance_phase = "Failed";
  EXPECT_EQ(Judge(status, {}).state, Wellbeing::kStopped);
  status.has_instance = false;
  EXPECT_EQ(Judge(status, {}).state, Wellbeing::kStopped);
  status.wants_running = true;
  EXPECT_EQ(Judge(status, {}).state, Wellbeing::kNotYet);
}

}  // namespace
}  // namespace understudy::control
