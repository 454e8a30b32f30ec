// Whether the process that left a mark is still there.
#include "core/daemon/process_mark.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

namespace understudy::daemon {
namespace {

TEST(ProcessMarkTest, OfThisProcessStaysTheSameAndIsAlive) {
  EXPECT_EQ(ProcessMark(), ProcessMark());
  EXPECT_TRUE(IsAlive(ProcessMark()));
}

TEST(ProcessMarkTest, OfAnotherProcessIsAliveUntilThatIsGone) {
  int told[2];
  ASSERT_EQ(pipe(told), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const std::string mark = ProcessMark();
    if (write(told[1], mark.data(), mark.size()) != static_cast<ssize_t>(mark.size())) _exit(1);
    while (true) pause();
  }
  char bytes[200];
  const ssize_t size = read(told[0], bytes, sizeof(bytes));
  const std::string mark(bytes, size > 0 ? static_cast<size_t>(size) : 0);
  EXPECT_NE(mark, ProcessMark());
  EXPECT_TRUE(IsAlive(mark)) << mark;
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(IsAlive(mark)) << mark;
  close(told[0]);
  close(told[1]);
}

// Numbers of processes come again, after a restart of the host soon.
TEST(ProcessMarkTest, OfAnEarlierProcessWithTheSameNumberIsNotAlive) {
  const std::string mark = ProcessMark();
  const size_t start = mark.find(' ') + 1;
  const size_t boot = mark.find(' ', start) + 1;
  EXPECT_FALSE(IsAlive(mark.substr(0, start) + "1" + mark.substr(boot - 1))) << "started at another time";
  EXPECT_FALSE(IsAlive(mark.substr(0, boot) + "another-boot"));
}

TEST(ProcessMarkTest, WhatNoProcessLeftIsNotAlive) {
  for (const char* const mark : {"", " ", "1", "self 1 2", "../1 2 3"}) EXPECT_FALSE(IsAlive(mark)) << mark;
}

}  // namespace
}  // namespace understudy::daemon
