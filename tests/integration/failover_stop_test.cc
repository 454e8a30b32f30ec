// Ctrl-C at a failover, as an administrator presses it: at the question nothing was begun; in a call that waits for an
// agent the run ends soon, and can be gone on with.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "nlohmann/json.hpp"
#include "tests/support/site.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kPlan[] = "state_dir: state-control\nfailover: {plans: [{name: shop, volumes: [local/web]}]}\n";
// Far less than any call of a run may take by itself.
constexpr absl::Duration kSoon = absl::Seconds(20);

void Write(const std::string& path, const std::string& content) {
  std::ofstream(path) << content;
}

class FailoverStopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto site =
        Site::Make({.more_dr_settings = "hooks: {dir: hooks.d, timeout: 1h}\n", .more_control_settings = kPlan});
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    ASSERT_TRUE(site_->StartDr().ok());
    ASSERT_TRUE(site_->StartPrimary().ok());
    Write(site_->Volume("web") + "/file", "content");
    ASSERT_TRUE(site_->Sync("web").ok());
  }
  void TearDown() override {
    if (HasFailure() && site_ != nullptr) std::cerr << site_->primary().Err() << site_->dr().Err();
  }

  nlohmann::json Drctl(std::vector<std::string> arguments, int expected = 0) {
    arguments.insert(arguments.end(), {"-o", "json"});
    const ProcessResult result = site_->Drctl(arguments);
    EXPECT_EQ(result.exit_code, expected) << result.out << result.err;
    return nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  }
  nlohmann::json Runs() { return Drctl({"failover", "list"})["runs"]; }
  void Hook(const std::string& name, const std::string& script) const {
    const std::filesystem::path path = site_->File("hooks.d/" + name);
    std::filesystem::create_directories(path.parent_path());
    Write(path, "#!/bin/sh\n" + script + "\n");
    ASSERT_EQ(chmod(path.c_str(), 0755), 0);
  }
  // A run that a hook of this phase holds up, for as long as it likes.
  std::unique_ptr<Process> StartHeldUpBy(const std::string& phase) {
    const std::string reached = site_->File("reached");
    Hook(phase + "/10-wait", fmt::format("touch {}; exec sleep 3000", reached));
    auto drctl = Process::Start({.program = ProgramPath("drctl"),
                                 .arguments = {"--config", site_->File("control.yaml"), "failover", "run", "--yes"}});
    EXPECT_TRUE(drctl.ok()) << drctl.status();
    if (!drctl.ok()) return nullptr;
    EXPECT_TRUE(WaitFor("the hook", absl::Seconds(60), [&] { return std::filesystem::exists(reached); }).ok());
    return *std::move(drctl);
  }

  std::unique_ptr<Site> site_;
};

class HeldUpTest : public FailoverStopTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(HeldUpTest, CtrlCEndsTheRunSoonAndItCanBeGoneOnWith) {
  const std::unique_ptr<Process> drctl = StartHeldUpBy(GetParam());
  ASSERT_NE(drctl, nullptr);
  drctl->Signal(SIGINT);
  const auto ended = drctl->Wait(kSoon);
  ASSERT_TRUE(ended.ok()) << "it waits for the hook";
  EXPECT_EQ(ended->exit_code, 1) << ended->err;
  EXPECT_THAT(ended->out, HasSubstr("the run was stopped"));
  ASSERT_EQ(Runs().size(), 1U);
  EXPECT_EQ(Runs()[0]["state"], "failed");
  EXPECT_EQ(Runs()[0]["over"], false);
  Hook(GetParam() + std::string("/10-wait"), "exit 0");
  EXPECT_EQ(Drctl({"failover", "resume"})["result"], "done");
  EXPECT_EQ(Drctl({"status"})["volumes"][0]["replica"]["state"], "active");
}
INSTANTIATE_TEST_SUITE_P(Hooks, HeldUpTest, ::testing::Values("pre-fence", "pre-promote", "post-promote"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// drctl at a terminal.
class AtTerminal {
 public:
  explicit AtTerminal(std::vector<std::string> arguments) {
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = forkpty(&terminal_, nullptr, nullptr, nullptr);
    if (pid_ != 0) return;
    execv(argv[0], argv.data());
    _exit(127);
  }
  ~AtTerminal() {
    if (pid_ > 0) kill(pid_, SIGKILL);
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
    close(terminal_);
  }
  // What it has shown once `text` is part of it.
  std::string ReadUntil(std::string_view text) const {
    std::string shown;
    while (shown.find(text) == std::string::npos) {
      pollfd readable{.fd = terminal_, .events = POLLIN, .revents = 0};
      std::array<char, 512> buffer{};
      if (poll(&readable, 1, 60'000) != 1) break;
      const ssize_t count = read(terminal_, buffer.data(), buffer.size());
      if (count <= 0) break;
      shown.append(buffer.data(), static_cast<size_t>(count));
    }
    return shown;
  }
  void Type(std::string_view keys) const {
    EXPECT_EQ(write(terminal_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  // As waitpid tells it; -1: it goes on.
  int Wait(absl::Duration timeout) {
    int status = -1;
    const bool ended = WaitFor("its end", timeout, [&] { return waitpid(pid_, &status, WNOHANG) == pid_; }).ok();
    if (ended) pid_ = -1;
    return ended ? status : -1;
  }

 private:
  int terminal_ = -1;
  pid_t pid_ = -1;
};

TEST_F(FailoverStopTest, CtrlCAtTheQuestionEndsTheCommand) {
  AtTerminal drctl({ProgramPath("drctl"), "--config", site_->File("control.yaml"), "failover", "run"});
  ASSERT_THAT(drctl.ReadUntil("to go on: "), HasSubstr("Type the plan's name"));
  drctl.Type("\x03");
  const int status = drctl.Wait(kSoon);
  ASSERT_NE(status, -1) << "it still asks";
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << status;
  EXPECT_THAT(Runs(), IsEmpty());
  EXPECT_EQ(Drctl({"status"})["volumes"][0]["replica"]["state"], "standby");
}

}  // namespace
}  // namespace understudy::tests
