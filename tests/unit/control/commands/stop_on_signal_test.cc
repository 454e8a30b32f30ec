#include "control/commands/stop_on_signal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "tests/support/wait.h"

namespace understudy::control {
namespace {

// In a process of its own, whose signals these are.
void BeStopped(int times) {
  const StopOnSignal stop;
  for (int i = 0; i < times; ++i) {
    kill(getpid(), SIGINT);
    // The signal is taken once the stop is requested; of a second one nothing is seen but the end.
    const bool seen = tests::WaitFor("the stop", absl::Seconds(i == 0 ? 20 : 60), [&] {
                        return i == 0 && stop.Token().stop_requested();
                      }).ok();
    if (!seen) std::_Exit(1);
  }
  std::_Exit(0);
}

class StopOnSignalTest : public ::testing::Test {
 protected:
  StopOnSignalTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};
using StopOnSignalDeathTest = StopOnSignalTest;

TEST_F(StopOnSignalDeathTest, TheFirstOneIsARequest) {
  EXPECT_EXIT(BeStopped(1), ::testing::ExitedWithCode(0), "");
}

TEST_F(StopOnSignalDeathTest, TheSecondOneEndsTheProcess) {
  EXPECT_EXIT(BeStopped(2), ::testing::ExitedWithCode(kInterruptedExitCode), "");
}

}  // namespace
}  // namespace understudy::control
