// The whole way there and back by plans, with four real agents on two hosts: failover, reprotect, changes, failback,
// reprotect; also when drctl is killed on the way.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/tree_compare.h"
#include "tests/support/two_hosts.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kImageBytes = size_t{32} << 20;
constexpr uint64_t kFewBytes = kImageBytes / 32;

void Write(const std::string& path, const std::string& content) {
  std::ofstream(path) << content;
}

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void ChangeBlock(const std::string& path, size_t block, char with) {
  constexpr size_t kBlockBytes = 4096;
  std::fstream image(path, std::ios::binary | std::ios::in | std::ios::out);
  image.seekp(static_cast<std::streamoff>(block * kBlockBytes));
  image << std::string(kBlockBytes, with);
}

class FailbackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& name : TwoHosts::Names()) hosts_.Start(name);
    Write(hosts_.A("image"), std::string(kImageBytes, 'i'));
    Write(hosts_.A("page"), "first");
    const absl::Status synced = WaitForOk("the first sync", absl::Minutes(2), [&] {
      const ProcessResult result = hosts_.Drctl({"volumes", "sync", "web", "--published"});
      return result.exit_code == 0 ? absl::OkStatus() : absl::UnavailableError(result.err);
    });
    ASSERT_TRUE(synced.ok()) << synced;
  }
  void TearDown() override {
    if (HasFailure()) std::cerr << hosts_.Logs();
  }
  void ExpectEqual() {
    const auto differences = CompareTrees(hosts_.A(), hosts_.B());
    ASSERT_TRUE(differences.ok()) << differences.status();
    EXPECT_THAT(*differences, IsEmpty());
  }
  void ExpectDone(const std::vector<std::string>& command) {
    const nlohmann::json run = hosts_.Json(command);
    EXPECT_EQ(run.value("result", ""), "done") << run;
  }
  // DR's host has an NFS server from now on, by the exportfs of tests/support: that one's folder.
  std::string SwitchExportsAtB() {
    const std::string server = hosts_.File("server");
    std::filesystem::create_directories(server + "/exports.d");
    std::filesystem::create_symlink(SourcePath("tests/support/fake_exportfs.sh"), server + "/exportfs");
    std::string config = Read(hosts_.File("dr-b.yaml"));
    config.replace(config.find("backend: none"), 13, "backend: knfsd, clients: [127.0.0.0/8]");
    config += fmt::format("knfsd: {{exports_dir: {0}/exports.d, exportfs: {0}/exportfs, etab: {0}/etab}}\n", server);
    Write(hosts_.File("dr-b.yaml"), config);
    hosts_.KillAndStart("dr-b");
    const absl::Status answers = WaitFor("understudy-dr of B to answer", absl::Seconds(30),
                                         [&] { return hosts_.Drctl({"status"}).exit_code == 0; });
    EXPECT_TRUE(answers.ok()) << answers;
    return server;
  }
  // drctl dies at each nth call that makes a record durable, until the run has come to its end.
  void RunKilledAgainAndAgain(std::vector<std::string> command) {
    constexpr int kCallsOfALife = 8;
    const nlohmann::json before = hosts_.Json({"failover", "list"});
    const size_t runs_before = before["runs"].size();
    int deaths = 0;
    while (true) {
      std::vector<std::string> arguments = {"-f",
                                            "-qq",
                                            "-o",
                                            "/dev/null",
                                            "-e",
                                            fmt::format("inject=fdatasync:signal=SIGKILL:when={}", kCallsOfALife),
                                            ProgramPath("drctl"),
                                            "--config",
                                            hosts_.File("control.yaml")};
      arguments.insert(arguments.end(), command.begin(), command.end());
      const auto result = RunTraced(arguments, absl::Minutes(2));
      ASSERT_TRUE(result.ok()) << result.status();
      if (result->signal != SIGKILL && result->exit_code != 128 + SIGKILL) {
        EXPECT_EQ(result->exit_code, 0) << result->out << result->err;
        break;
      }
      ASSERT_LT(++deaths, 50) << "it doesn't get on";
      const nlohmann::json listed = hosts_.Json({"failover", "list"});
      const nlohmann::json& runs = listed["runs"];
      if (runs.size() == runs_before) continue;  // it died before there was a run
      if (runs[0]["over"] == true) break;        // it died after its end
      command = {"failover", "resume"};
    }
    const nlohmann::json listed = hosts_.Json({"failover", "list"});
    EXPECT_EQ(listed["runs"][0]["state"], "done") << listed["runs"][0];
    EXPECT_GT(deaths, 0);
  }

  TwoHosts hosts_{"state_dir: state-control\nfailover: {plans: [{name: shop, volumes: [local/web]}]}\n"};
};

TEST_F(FailbackTest, ThereAndBackAgainEachSideHasWhatTheLiveOneHad) {
  ExpectDone({"failover", "run", "--yes"});
  ExpectEqual();
  Write(hosts_.B("page"), "live at B");
  ChangeBlock(hosts_.B("image"), 7, 'b');

  ExpectDone({"reprotect", "--yes"});
  ExpectEqual();
  const nlohmann::json status = hosts_.Json({"status"});
  EXPECT_EQ(status["volumes"][0]["direction"], "to-primary");
  EXPECT_LT(status["volumes"][0]["content_bytes_sent"].get<uint64_t>(), kFewBytes);

  Write(hosts_.B("page"), "written right before the failback");
  ExpectDone({"failback", "--yes"});
  ExpectEqual();
  EXPECT_EQ(Read(hosts_.A("page")), "written right before the failback");
  // The live copy at A is exported by understudy-dr there, not by the pair's primary, which had fenced it.
  const auto desired = [&] {
    const nlohmann::json listed = hosts_.Json({"exports", "list", "--site", "primary"});
    return listed["exports"].size() == 1 ? listed["exports"][0].value("desired", "") : listed.dump();
  };
  EXPECT_EQ(desired(), "rw");
  hosts_.Json({"exports", "set", "web", "ro", "--site", "primary"});
  EXPECT_EQ(desired(), "ro");
  hosts_.Json({"exports", "set", "web", "rw", "--site", "primary"});
  Write(hosts_.A("page"), "live at A again");

  ExpectDone({"reprotect", "--yes"});
  ExpectEqual();
  EXPECT_EQ(Read(hosts_.B("page")), "live at A again");
  EXPECT_EQ(hosts_.Json({"status"})["volumes"][0]["direction"], "to-dr");

  ChangeBlock(hosts_.A("image"), 9, 'a');
  ExpectDone({"failover", "run", "--yes"});
  ExpectEqual();
}

TEST_F(FailbackTest, KilledAgainAndAgainEachLegComesToItsEnd) {
  if (!RunProcess({.program = "strace", .arguments = {"-V"}}).ok()) GTEST_SKIP() << "needs strace: ./dev setup";
  RunKilledAgainAndAgain({"failover", "run", "--yes"});
  Write(hosts_.B("page"), "live at B");
  RunKilledAgainAndAgain({"reprotect", "--yes"});
  ExpectEqual();
  Write(hosts_.B("page"), "last at B");
  RunKilledAgainAndAgain({"failback", "--yes"});
  EXPECT_EQ(Read(hosts_.A("page")), "last at B");
  ExpectEqual();
  Write(hosts_.A("page"), "live at A again");
  RunKilledAgainAndAgain({"reprotect", "--yes"});
  EXPECT_EQ(Read(hosts_.B("page")), "live at A again");
  ExpectEqual();
}

TEST_F(FailbackTest, AReprotectThatFailedHalfWayAtDrGoesOn) {
  ExpectDone({"failover", "run", "--yes"});
  ExpectDone({"reprotect", "--yes"});
  ExpectDone({"failback", "--yes"});
  Write(hosts_.A("page"), "live at A again");
  const std::string server = SwitchExportsAtB();

  // What DR had is given up by then, and can't be exported read-only.
  hosts_.Json({"exports", "set", "web", "none", "--site", "dr"});
  Write(server + "/behaviour", "fail");
  const ProcessResult failed = hosts_.Drctl({"reprotect", "--yes"});
  EXPECT_EQ(failed.exit_code, 1) << failed.err;
  const nlohmann::json status = hosts_.Json({"status"});
  EXPECT_EQ(status["volumes"][0]["replica"]["state"], "demoting") << status;
  EXPECT_EQ(status["volumes"][0]["direction"], "none") << status;

  std::filesystem::remove(server + "/behaviour");
  ExpectDone({"failover", "resume"});
  ExpectEqual();
  EXPECT_EQ(Read(hosts_.B("page")), "live at A again");
  EXPECT_EQ(hosts_.Json({"status"})["volumes"][0]["direction"], "to-dr");
}

TEST_F(FailbackTest, WhatIsNotPromotedIsNeitherTurnedNorFailedBack) {
  const ProcessResult turned = hosts_.Drctl({"reprotect", "--yes"});
  EXPECT_EQ(turned.exit_code, 5);
  EXPECT_THAT(turned.err, HasSubstr("no volume of plan shop is promoted"));
}

}  // namespace
}  // namespace understudy::tests
