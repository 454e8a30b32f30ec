#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

ProcessOptions Shell(const std::string& script) {
  return {.program = "sh", .arguments = {"-c", script}};
}

TEST(ProcessTest, GivesOutputAndExitCode) {
  const auto result = RunProcess(Shell("echo out; echo err >&2; exit 3"));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->signal, 0);
  EXPECT_EQ(result->out, "out\n");
  EXPECT_EQ(result->err, "err\n");
}

TEST(ProcessTest, AMissingProgramIsNotFound) {
  EXPECT_EQ(Process::Start({.program = "no-such-program"}).status().code(), absl::StatusCode::kNotFound);
}

TEST(ProcessTest, EnvironmentReplacesAndWorkingDirectoryHolds) {
  const TempDir folder;
  ProcessOptions options = Shell("echo $HOME; pwd");
  options.environment = {{"HOME", "/elsewhere"}};
  options.working_directory = folder.Path();
  const auto result = RunProcess(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "/elsewhere\n" + folder.Path() + "\n");
}

TEST(ProcessTest, StopKillsWhatIgnoresSigterm) {
  auto process = Process::Start(Shell("trap '' TERM; echo ready; while :; do sleep 1 & wait; done"));
  ASSERT_TRUE(process.ok()) << process.status();
  ASSERT_TRUE(WaitFor("the trap to be set", absl::Seconds(30), [&] { return (*process)->Out() == "ready\n"; }).ok());
  EXPECT_TRUE((*process)->Running());
  EXPECT_EQ((*process)->Stop(absl::Milliseconds(200)).signal, SIGKILL);
  EXPECT_FALSE((*process)->Running());
}

TEST(ProcessTest, AChildDoesNotOutliveItsTest) {
  const TempDir folder;  // the killed parent leaves its files behind: below this
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    setenv("TEST_TMPDIR", folder.Path().c_str(), 1);
    auto child = Process::Start({.program = "sleep", .arguments = {"600"}});
    const pid_t pid = (*child)->Pid();
    if (write(pipe_ends[1], &pid, sizeof pid) != sizeof pid) _exit(1);
    raise(SIGKILL);
  }
  pid_t orphan = 0;
  ASSERT_EQ(read(pipe_ends[0], &orphan, sizeof orphan), static_cast<ssize_t>(sizeof orphan));
  ASSERT_EQ(waitpid(parent, nullptr, 0), parent);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  const auto running = [&] {
    std::error_code gone;
    return std::filesystem::exists("/proc/" + std::to_string(orphan) + "/exe", gone);
  };
  EXPECT_TRUE(WaitFor("the orphan to be killed", absl::Seconds(30), [&] { return !running(); }).ok());
}

TEST(TempDirTest, IsGoneAfterwards) {
  std::string path;
  {
    const TempDir folder;
    path = folder.Path();
    EXPECT_TRUE(std::filesystem::is_directory(path));
    EXPECT_EQ(folder.File("a"), path + "/a");
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(WaitTest, SaysWhatItWaitedForAndWhatItSaw) {
  const absl::Status status =
      WaitForOk("the moon", absl::Milliseconds(1), [] { return absl::NotFoundError("only clouds"); });
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(status.message(), "waited 1ms for the moon: only clouds");
}

TEST(FreePortTest, NeverGivesTheSamePortTwice) {
  std::set<int> ports;
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(ports.insert(FreePort()).second);
}

}  // namespace
}  // namespace understudy::tests
