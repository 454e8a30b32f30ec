// Programs run to their end, or to the end of the caller's patience.
#include "core/os/command.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/types.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy::os {
namespace {

TEST(CommandTest, OutputAndExitCodeAreTheProgramsOwn) {
  CommandRunner runner;
  const auto result = runner.Run({"sh", "-c", "echo out; echo err >&2; exit 3"}, absl::Seconds(60));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->output, "out\nerr\n");
  EXPECT_EQ(runner.Run({"sh", "-c", "kill -TERM $$"}, absl::Seconds(60))->signal, SIGTERM);
  EXPECT_TRUE(absl::IsNotFound(runner.Run({"/no/such/program"}, absl::Seconds(60)).status()));
}

TEST(CommandTest, WhatTakesTooLongIsKilledWithAllThatItStarted) {
  CommandRunner runner;
  const tests::TempDir folder;
  const auto result =
      runner.Run({"sh", "-c", "sleep 1000 & echo $! >" + folder.File("pid") + "; wait"}, absl::Milliseconds(300));
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
  pid_t child = 0;
  std::ifstream(folder.File("pid")) >> child;
  ASSERT_GT(child, 0);
  const auto has_ended = [child] {
    std::ifstream command("/proc/" + std::to_string(child) + "/cmdline");
    return std::string(std::istreambuf_iterator<char>(command), {}).empty();
  };
  EXPECT_TRUE(tests::WaitFor("its child to end", absl::Seconds(60), has_ended).ok());
  // The next one isn't held up.
  EXPECT_TRUE(runner.Run({"true"}, absl::Seconds(60)).ok());
}

TEST(CommandTest, NothingThatIsOpenHereIsOpenThere) {
  const int leaks = fcntl(STDIN_FILENO, F_DUPFD, 200);  // without FD_CLOEXEC
  ASSERT_GE(leaks, 200);
  CommandRunner runner;
  const auto result = runner.Run({"sh", "-c", "ls /proc/$$/fd"}, absl::Seconds(60));
  close(leaks);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 0);
  EXPECT_EQ(result->output.find(std::to_string(leaks)), std::string::npos) << result->output;
}

TEST(CommandTest, OutputIsBounded) {
  CommandRunner runner;
  const auto result = runner.Run({"sh", "-c", "head -c 1000000 /dev/zero"}, absl::Seconds(60));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 0);
  EXPECT_EQ(result->output.size(), kMaxCommandOutputBytes);
}

}  // namespace
}  // namespace understudy::os
