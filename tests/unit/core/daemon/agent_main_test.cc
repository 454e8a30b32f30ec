// An agent's life as a process: command line, exit codes, the lock, readiness, signs of life, signals.
#include "core/daemon/agent_main.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "core/daemon/version.h"

namespace understudy::daemon {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kPatienceMilliseconds = 20000;

struct Ended {
  int exit_code;
  std::string out;
  std::string err;
};

class AgentMainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "understudy-agent-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    program_ = std::filesystem::path(std::getenv("UNDERSTUDY_BIN")) / "sample-agent";
    notify_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = (folder_ / "notify").string();
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(bind(notify_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  void TearDown() override {
    close(notify_);
    std::filesystem::remove_all(folder_);
  }

  std::string Config(const std::string& text) const {
    std::ofstream(folder_ / "sample.yaml") << text << "\n";
    return folder_ / "sample.yaml";
  }

  // Starts the program with systemd's environment, its output in files of `folder_`.
  pid_t Start(const std::vector<std::string>& arguments) const {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    const std::string out = folder_ / "out";
    const std::string err = folder_ / "err";
    dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
    dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
    setenv("NOTIFY_SOCKET", (folder_ / "notify").c_str(), 1);
    setenv("WATCHDOG_USEC", "200000", 1);
    std::vector<char*> argv = {const_cast<char*>(program_.c_str())};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execv(program_.c_str(), argv.data());
    _exit(127);
  }
  Ended WaitFor(pid_t pid) const {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status));
    return {WEXITSTATUS(status), Read("out"), Read("err")};
  }
  Ended Run(const std::vector<std::string>& arguments) const { return WaitFor(Start(arguments)); }
  std::string Read(const std::string& name) const {
    std::ifstream stream(folder_ / name);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  }
  // The next notification that holds `text`.
  bool Notified(const std::string& text) const {
    pollfd waiting{.fd = notify_, .events = POLLIN, .revents = 0};
    while (poll(&waiting, 1, kPatienceMilliseconds) == 1) {
      char bytes[4096];
      const ssize_t length = recv(notify_, bytes, sizeof(bytes), 0);
      if (length > 0 && std::string(bytes, static_cast<size_t>(length)).find(text) != std::string::npos) return true;
    }
    return false;
  }

  std::filesystem::path folder_;
  std::filesystem::path program_;
  int notify_ = -1;
};

TEST_F(AgentMainTest, ServesUntilASignalAndTellsSystemd) {
  const std::filesystem::path state = folder_ / "deep/state";
  const pid_t pid = Start({"--config", Config(state)});
  EXPECT_TRUE(Notified("READY=1"));
  struct stat status {};
  ASSERT_EQ(stat(state.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  EXPECT_TRUE(Notified("WATCHDOG=1"));
  EXPECT_TRUE(Notified("STATUS=idle"));
  kill(pid, SIGHUP);
  EXPECT_TRUE(Notified("WATCHDOG=1"));
  EXPECT_TRUE(Notified("WATCHDOG=1")) << "SIGHUP doesn't end it";
  kill(pid, SIGTERM);
  EXPECT_TRUE(Notified("STOPPING=1"));
  const Ended ended = WaitFor(pid);
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.err, HasSubstr("SIGHUP has no effect"));
}

TEST_F(AgentMainTest, ASecondInstanceIsRefusedAndNamesTheFirst) {
  const std::string config = Config(folder_ / "state");
  const pid_t first = Start({"--config", config});
  ASSERT_TRUE(Notified("READY=1"));
  const Ended second = Run({"--config", config});
  EXPECT_EQ(second.exit_code, 5);
  EXPECT_THAT(second.err, HasSubstr("in use by process " + std::to_string(first)));
  kill(first, SIGINT);
  EXPECT_EQ(WaitFor(first).exit_code, 0);
  const pid_t third = Start({"--config", config});
  EXPECT_TRUE(Notified("READY=1")) << "the lock goes with its holder";
  kill(third, SIGTERM);
  EXPECT_EQ(WaitFor(third).exit_code, 0);
}

TEST_F(AgentMainTest, AKilledHolderLeavesNoLock) {
  const std::string config = Config(folder_ / "state");
  const pid_t first = Start({"--config", config});
  ASSERT_TRUE(Notified("READY=1"));
  kill(first, SIGKILL);
  ASSERT_EQ(waitpid(first, nullptr, 0), first);
  const pid_t second = Start({"--config", config});
  EXPECT_TRUE(Notified("READY=1"));
  kill(second, SIGTERM);
  EXPECT_EQ(WaitFor(second).exit_code, 0);
}

TEST_F(AgentMainTest, CheckHasNoOtherEffect) {
  const Ended good = Run({"--check", "--config", Config(folder_ / "state")});
  EXPECT_EQ(good.exit_code, 0);
  EXPECT_THAT(good.out, HasSubstr("sample.yaml: good"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "state"));
  EXPECT_EQ(Run({"--check", "--config", Config("bad")}).exit_code, 2);
}

TEST_F(AgentMainTest, AMistakeIsOneLineAndExitCodeTwo) {
  const Ended ended = Run({"--config", Config("bad")});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_EQ(ended.err,
            "sample-agent: " + (folder_ / "sample.yaml").string() + ":1: write the path of the state folder\n");
  EXPECT_EQ(Run({"--confg", "x"}).exit_code, 2);
}

TEST_F(AgentMainTest, AFailedStartHasItsExitCode) {
  const Ended ended = Run({"--config", Config(folder_ / "unstartable")});
  EXPECT_EQ(ended.exit_code, 4);
  EXPECT_THAT(ended.err, HasSubstr("sample-agent: can't reach anything\n"));
}

TEST_F(AgentMainTest, HelpHasAnExampleAndVersionIsOneLine) {
  const Ended help = Run({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out,
              AllOf(HasSubstr("--config"), HasSubstr("--check"), HasSubstr("Example:\n  sample-agent --config")));
  const Ended version = Run({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.out, "sample-agent " + std::string(SoftwareVersion()) + "\n");
}

}  // namespace
}  // namespace understudy::daemon
