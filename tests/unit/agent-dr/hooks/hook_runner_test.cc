// Real programs as hooks: what they get, what becomes of them, and which aren't run.
#include "agent-dr/hooks/hook_runner.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "agent-dr/hooks/hook_files.h"
#include "tests/support/loop_mount.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy::dr {
namespace {

using model::HookPhase;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class HookRunnerTest : public ::testing::Test {
 protected:
  std::string Hook(const std::string& name, const std::string& script, mode_t mode = 0755) {
    const std::string folder = dir_.File("hooks.d/pre-promote");
    std::filesystem::create_directories(folder);
    std::string path = folder + "/" + name;
    std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  }
  absl::Status Run(const std::string& input = "{}\n", absl::Duration timeout = absl::Seconds(30)) {
    results_.clear();
    const HookRunner runner({.dir = dir_.File("hooks.d"), .timeout = timeout});
    return runner.Run({.phase = HookPhase::kPrePromote,
                       .volume = "web",
                       .input = input,
                       .cancelled = cancelled_,
                       .on_result = [&](const model::HookResult& result) { results_.push_back(result); }});
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const model::HookResult& result : results_) names.push_back(result.name);
    return names;
  }
  // True once `pid`, which a hook wrote to this file, is gone or only waits to be buried.
  bool IsGone(const std::string& pid_file) {
    std::string pid;
    std::ifstream(pid_file) >> pid;
    std::ifstream stat("/proc/" + pid + "/stat");
    std::string line;
    return pid.empty() || !std::getline(stat, line) || line.find(") Z ") != std::string::npos;
  }

  tests::TempDir dir_;
  std::function<bool()> cancelled_;
  std::vector<model::HookResult> results_;
};

TEST_F(HookRunnerTest, NoFolderIsNoHook) {
  EXPECT_TRUE(Run().ok());
  EXPECT_THAT(results_, IsEmpty());
}

TEST_F(HookRunnerTest, RunsInTheOrderOfNamesWithTheInputOnStdin) {
  Hook("20-second", "echo second; cat; echo oops >&2");
  Hook("10-first", "read -r line; echo \"first got $line\"");
  ASSERT_TRUE(Run("{\"volume\": \"web\"}\n").ok());
  EXPECT_THAT(Names(), ElementsAre("10-first", "20-second"));
  EXPECT_EQ(results_[0].output, "first got {\"volume\": \"web\"}\n");
  EXPECT_EQ(results_[1].output, "second\n{\"volume\": \"web\"}\noops\n");
  EXPECT_TRUE(results_[0].ok());
}

TEST_F(HookRunnerTest, AHookThatFailsEndsTheRunUnlessItIsOptional) {
  Hook("10-note.optional", "exit 3");
  Hook("15-note.optional.sh", "kill -TERM $$");
  Hook("20-check", "echo the reason; exit 7");
  Hook("30-never", "true");
  const absl::Status ran = Run();
  EXPECT_TRUE(absl::IsAborted(ran)) << ran;
  EXPECT_THAT(std::string(ran.message()), HasSubstr("pre-promote/20-check: exit code 7"));
  EXPECT_THAT(Names(), ElementsAre("10-note.optional", "15-note.optional.sh", "20-check"));
  EXPECT_TRUE(results_[0].optional);
  EXPECT_EQ(results_[0].problem, "exit code 3");
  EXPECT_EQ(results_[1].problem, "ended by signal 15");
  EXPECT_EQ(results_[2].output, "the reason\n");
}

TEST_F(HookRunnerTest, InputThatNobodyReadsIsNoTrouble) {
  Hook("10-deaf", "exec 0<&-; exit 0");
  Hook("20-gone", "exit 0");
  EXPECT_TRUE(Run(std::string(4 << 20, 'x')).ok());
}

TEST_F(HookRunnerTest, TheEndOfTooMuchOutputIsKept) {
  Hook("10-loud", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end");
  ASSERT_TRUE(Run().ok());
  EXPECT_LE(results_[0].output.size(), 16u * 1024);
  EXPECT_TRUE(results_[0].output.ends_with("x\nthe end\n"));
  EXPECT_EQ(results_[0].output.size() + results_[0].output_left_out_bytes, 3'000'000u + 1 + 8);
}

TEST_F(HookRunnerTest, AfterTheTimeLimitAllThatItStartedIsKilled) {
  Hook("10-slow", "sleep 1000 & echo $! > " + dir_.File("child") + "; echo started; trap '' TERM; wait; sleep 1000");
  const absl::Status ran = Run("", absl::Milliseconds(500));
  EXPECT_TRUE(absl::IsAborted(ran)) << ran;
  EXPECT_THAT(results_[0].problem, HasSubstr("killed after 500ms"));
  EXPECT_EQ(results_[0].output, "started\n");
  EXPECT_TRUE(
      tests::WaitFor("the child to be gone", absl::Seconds(30), [&] { return IsGone(dir_.File("child")); }).ok());
}

// A write to a filesystem that takes none just now waits, and no signal ends that.
TEST_F(HookRunnerTest, OneThatNoSignalEndsIsGivenUp) {
  const auto disk = tests::LoopMount::Make("ext4", 64);
  if (absl::IsUnimplemented(disk.status())) GTEST_SKIP() << disk.status();
  ASSERT_TRUE(disk.ok()) << disk.status();
  const std::string& mounted = (*disk)->Path();
  Hook("10-stuck", "echo $$ > " + dir_.File("pid") + "; echo x > " + mounted + "/file; sleep 1000");
  const int folder = open(mounted.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(ioctl(folder, FIFREEZE, 0), 0) << strerror(errno);
  absl::Notification thawed;
  // Should the call wait all the same, it ends, and the test fails.
  std::thread thaw([&] {
    thawed.WaitForNotificationWithTimeout(absl::Seconds(20));
    EXPECT_EQ(ioctl(folder, FITHAW, 0), 0) << strerror(errno);
    close(folder);
  });
  const absl::Status ran = Run("", absl::Milliseconds(500));
  thawed.Notify();
  thaw.join();
  EXPECT_TRUE(absl::IsAborted(ran)) << ran;
  EXPECT_THAT(results_[0].problem, ContainsRegex("killed after 500ms, and hasn't ended .process [0-9]+.: see what"));
  // It ends when it can, and a later call buries it.
  std::string pid;
  std::ifstream(dir_.File("pid")) >> pid;
  std::filesystem::remove(dir_.File("hooks.d/pre-promote/10-stuck"));
  Hook("20-next", "true");
  EXPECT_TRUE(tests::WaitFor("the hook to be buried", absl::Seconds(30), [&] {
                return Run().ok() && !std::filesystem::exists("/proc/" + pid);
              }).ok());
}

TEST_F(HookRunnerTest, WhatAHookLeavesBehindEndsWithIt) {
  Hook("10-leaves", "sleep 1000 & echo $! > " + dir_.File("child") + "; echo done");
  ASSERT_TRUE(Run().ok()) << "its output is held open by the child, and isn't waited for";
  EXPECT_EQ(results_[0].output, "done\n");
  EXPECT_TRUE(
      tests::WaitFor("the child to be gone", absl::Seconds(30), [&] { return IsGone(dir_.File("child")); }).ok());
}

TEST_F(HookRunnerTest, ACallThatWasGivenUpEndsTheHook) {
  Hook("10-slow", "touch " + dir_.File("began") + "; exec sleep 1000");
  Hook("20-never", "true");
  cancelled_ = [&] { return std::filesystem::exists(dir_.File("began")); };
  EXPECT_TRUE(absl::IsCancelled(Run()));
  EXPECT_THAT(Names(), ElementsAre("10-slow"));
}

TEST_F(HookRunnerTest, GetsNothingOfOursButWhatIsSaid) {
  ASSERT_EQ(setenv("UNDERSTUDY_SECRET", "s", 1), 0);
  const int leaky = open("/dev/null", O_RDONLY);  // without O_CLOEXEC
  ASSERT_GE(leaky, 0);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, nullptr), 0);
  Hook("10-look",
       "env; pwd; ls /proc/self/fd; grep -E 'SigBlk|SigIgn' /proc/self/status; "
       "test \"$(ps -o pgid= -p $$ | tr -d ' ')\" = $$ && echo a group of its own");
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  const absl::Status ran = Run();
  std::signal(SIGPIPE, before);
  pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
  close(leaky);
  ASSERT_TRUE(ran.ok());
  const std::string& output = results_[0].output;
  EXPECT_THAT(output, Not(HasSubstr("UNDERSTUDY_SECRET")));
  EXPECT_THAT(output, HasSubstr("UNDERSTUDY_PHASE=pre-promote\n"));
  EXPECT_THAT(output, HasSubstr("UNDERSTUDY_VOLUME=web\n"));
  EXPECT_THAT(output, HasSubstr("\n/\n0\n1\n2\n3\n")) << "3 is ls's own";
  EXPECT_THAT(output, HasSubstr("SigBlk:\t0000000000000000"));
  EXPECT_THAT(output, ContainsRegex("SigIgn:\t[0-9a-f]+[08]0000000\n")) << "but for two of the C library's own";
  EXPECT_THAT(output, HasSubstr("a group of its own\n"));
}

TEST_F(HookRunnerTest, WhatOthersCouldHaveWrittenIsNotRun) {
  const std::string hook = Hook("10-open", "touch " + dir_.File("ran"), 0775);
  EXPECT_TRUE(absl::IsAborted(Run()));
  EXPECT_THAT(results_[0].problem, HasSubstr("chmod go-w"));
  ASSERT_EQ(chmod(hook.c_str(), 0755), 0);
  ASSERT_EQ(chmod(dir_.File("hooks.d/pre-promote").c_str(), 0777), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(Run()));
  ASSERT_EQ(chmod(dir_.File("hooks.d/pre-promote").c_str(), 0755), 0);
  ASSERT_EQ(chmod(dir_.File("hooks.d").c_str(), 0775), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(Run()));
  ASSERT_EQ(chmod(dir_.File("hooks.d").c_str(), 0755), 0);
  ASSERT_EQ(chmod(dir_.Path().c_str(), 0777), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(Run()));
  ASSERT_EQ(chmod(dir_.Path().c_str(), 0755), 0);
  EXPECT_FALSE(std::filesystem::exists(dir_.File("ran")));
  EXPECT_TRUE(Run().ok());
  EXPECT_TRUE(std::filesystem::exists(dir_.File("ran")));
}

TEST_F(HookRunnerTest, AnotherUsersHookIsNotRun) {
  if (geteuid() != 0) GTEST_SKIP() << "giving a file away needs root";
  const std::string hook = Hook("10-theirs", "true");
  ASSERT_EQ(chown(hook.c_str(), 1000, 1000), 0);
  EXPECT_TRUE(absl::IsAborted(Run()));
  EXPECT_THAT(results_[0].problem, HasSubstr("belongs to user 1000"));
}

TEST_F(HookRunnerTest, ALinkIsNotRunForWhoMayChangeItsTargetIsNotTold) {
  std::filesystem::rename(Hook("target", "true"), dir_.File("target"));
  std::filesystem::create_symlink(dir_.File("target"), dir_.File("hooks.d/pre-promote/10-link"));
  EXPECT_TRUE(absl::IsAborted(Run()));
  EXPECT_THAT(results_[0].problem, HasSubstr("symbolic link"));
}

// Who owns the link's folder could have it lead to other programs of root's, between the look and the run.
TEST_F(HookRunnerTest, NoHookIsRunThroughALinkToItsFolder) {
  Hook("10-a", "touch " + dir_.File("ran"));
  const auto run_in = [&](const std::string& hooks_dir) {
    return HookRunner({.dir = hooks_dir, .timeout = absl::Seconds(30)}).Run({.phase = HookPhase::kPrePromote});
  };
  std::filesystem::create_directory_symlink(dir_.File("hooks.d"), dir_.File("link"));
  std::filesystem::create_directories(dir_.File("other"));
  std::filesystem::create_directory_symlink(dir_.File("hooks.d/pre-promote"), dir_.File("other/pre-promote"));
  std::filesystem::create_directory_symlink(dir_.File("nowhere"), dir_.File("dangling"));
  for (const char* const dir : {"link", "other", "dangling"}) {
    const absl::Status refused = run_in(dir_.File(dir));
    EXPECT_TRUE(absl::IsPermissionDenied(refused)) << dir << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("symbolic link"));
  }
  EXPECT_FALSE(std::filesystem::exists(dir_.File("ran")));
  EXPECT_TRUE(run_in(dir_.File("other/../hooks.d/")).ok());
  EXPECT_TRUE(std::filesystem::exists(dir_.File("ran")));
}

TEST_F(HookRunnerTest, WhatIsNoHookIsPassedOver) {
  Hook("README", "exit 1", 0644);
  Hook(".hidden", "exit 1");
  Hook("10-a.rpmsave", "exit 1");
  Hook("10-a~", "exit 1");
  std::filesystem::create_directories(dir_.File("hooks.d/pre-promote/folder"));
  Hook("10-a", "exit 0");
  EXPECT_TRUE(Run().ok());
  EXPECT_THAT(Names(), ElementsAre("10-a"));
}

TEST_F(HookRunnerTest, AProgramThatCannotBeStartedHasFailed) {
  const std::string hook = Hook("10-broken", "");
  std::ofstream(hook) << "#!/no/such/interpreter\n";
  EXPECT_TRUE(absl::IsAborted(Run()));
  EXPECT_THAT(results_[0].problem, HasSubstr("start"));
}

TEST(HookFilesTest, WhichNamesAreOptional) {
  EXPECT_TRUE(IsOptionalHook("10-a.optional"));
  EXPECT_TRUE(IsOptionalHook("10-a.optional.sh"));
  EXPECT_FALSE(IsOptionalHook("10-optional"));
  EXPECT_FALSE(IsOptionalHook("10-a.optionally"));
}

}  // namespace
}  // namespace understudy::dr
