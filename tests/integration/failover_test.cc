// Failovers of volumes without Kubernetes: two real agents, and drctl as an administrator runs it: to its end, stopped
// at each moment, rehearsed, and given up.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "nlohmann/json.hpp"
#include "tests/support/site.h"
#include "tests/support/tree_compare.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kPlan[] = "state_dir: state-control\nfailover: {plans: [{name: shop, volumes: [local/web]}]}\n";

void Write(const std::string& path, const std::string& content) {
  std::ofstream(path) << content;
}

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class FailoverTest : public ::testing::Test {
 protected:
  void Start(SiteOptions options = {}) {
    if (options.more_control_settings.empty()) options.more_control_settings = kPlan;
    auto site = Site::Make(options);
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    ASSERT_TRUE(site_->StartDr().ok());
    ASSERT_TRUE(site_->StartPrimary().ok());
    std::filesystem::create_directories(site_->Volume("web") + "/folder");
    for (int i = 0; i < 20; ++i) Write(fmt::format("{}/folder/{}", site_->Volume("web"), i), fmt::format("{}", i));
    Write(site_->Volume("web") + "/disk", std::string(3 << 20, 'd'));
    ASSERT_TRUE(site_->Sync("web").ok());
  }
  void TearDown() override {
    if (HasFailure() && site_ != nullptr) std::cerr << site_->primary().Err() << site_->dr().Err();
  }

  nlohmann::json Drctl(std::vector<std::string> arguments, int expected = 0) {
    arguments.insert(arguments.end(), {"-o", "json"});
    const ProcessResult result = site_->Drctl(arguments);
    EXPECT_EQ(result.exit_code, expected) << result.out << result.err;
    last_err_ = result.err;
    return nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  }
  nlohmann::json Volume() {
    const nlohmann::json status = Drctl({"status"});
    return status.is_object() && !status.at("volumes").empty() ? status.at("volumes").at(0) : nlohmann::json::object();
  }
  nlohmann::json Replica() { return Volume().value("replica", nlohmann::json::object()); }
  std::string SourceExport() {
    const nlohmann::json listed = Drctl({"exports", "list", "--site", "primary"});
    for (const auto& exported : listed["exports"]) {
      if (exported["volume"] == "web") return exported["desired"];
    }
    return "unknown";
  }
  void ExpectEqualTrees() {
    const auto differences = CompareTrees(site_->Volume("web"), site_->Replica("web"));
    ASSERT_TRUE(differences.ok()) << differences.status();
    EXPECT_THAT(*differences, IsEmpty());
  }
  std::vector<std::string> WorkFolders() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(site_->File("state-control/failover/runs"))) {
      names.push_back(entry.path().filename());
    }
    return names;
  }
  // Back to how it was: a standby that its primary keeps up to date.
  void Undo() {
    Drctl({"volumes", "demote", "web", "--yes"});
    Drctl({"exports", "set", "web", "none", "--site", "primary"});
    Drctl({"volumes", "resume", "web"});
    ASSERT_TRUE(site_->Sync("web").ok());
  }

  std::unique_ptr<Site> site_;
  std::string last_err_;
};

TEST_F(FailoverTest, APlannedOneLosesNothingAndTheOldSideCannotWriteAnyMore) {
  Start();
  Write(site_->Volume("web") + "/late", "written right before");
  const nlohmann::json run = Drctl({"failover", "run", "shop", "--yes"});
  EXPECT_EQ(run["result"], "done");
  ExpectEqualTrees();
  const nlohmann::json volume = Volume();
  EXPECT_EQ(Replica()["state"], "active") << volume;
  EXPECT_EQ(SourceExport(), "ro");
  EXPECT_EQ(Read(site_->Replica("web") + "/late"), "written right before");
  const nlohmann::json runs = Drctl({"failover", "list"})["runs"];
  ASSERT_THAT(runs, SizeIs(1));
  EXPECT_EQ(runs[0]["run"], run["run"]);
  EXPECT_EQ(runs[0]["over"], true);
  EXPECT_THAT(last_err_, Not(HasSubstr("error")));
}

TEST_F(FailoverTest, AnUnplannedOneDoesWithoutThePrimary) {
  Start();
  site_->primary().Kill();
  EXPECT_EQ(Drctl({"failover", "run", "--yes"}, /*expected=*/1)["result"], "failed");
  EXPECT_THAT(last_err_, HasSubstr("--unplanned"));
  const std::string failed = Drctl({"failover", "list"})["runs"][0]["run"];
  // The other run holds the plan until somebody says what is to become of it.
  const ProcessResult refused = site_->Drctl({"failover", "run", "--unplanned", "--yes"});
  EXPECT_EQ(refused.exit_code, 5) << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr(failed), HasSubstr("abort")));
  // Each run has a folder for what it fetches, which holds secrets: of the one that was refused nothing is left.
  EXPECT_THAT(WorkFolders(), ElementsAre(failed));
  const ProcessResult no_rehearsal = site_->Drctl({"failover", "clean", failed});
  EXPECT_EQ(no_rehearsal.exit_code, 5) << no_rehearsal.err;
  EXPECT_THAT(no_rehearsal.err, HasSubstr("is no rehearsal"));
  EXPECT_EQ(Drctl({"failover", "list"})["runs"][0]["state"], "failed");
  EXPECT_THAT(Drctl({"failover", "abort", failed, "--yes"})["stays"], IsEmpty());
  EXPECT_THAT(WorkFolders(), IsEmpty());
  EXPECT_EQ(site_->Drctl({"failover", "abort", failed, "--yes"}).exit_code, 5);
  EXPECT_EQ(Drctl({"failover", "run", "--unplanned", "--yes"})["result"], "done");
  EXPECT_EQ(site_->Drctl({"volumes", "show", "web"}).exit_code, 4);
  ExpectEqualTrees();
}

TEST_F(FailoverTest, ADryRunSaysWhatWouldBeDoneAndChangesNothing) {
  Start();
  const nlohmann::json before = Replica();
  const nlohmann::json plan = Drctl({"failover", "run", "--dry-run"});
  std::vector<std::string> names;
  for (const auto& step : plan["steps"]) names.push_back(step["step"]);
  EXPECT_THAT(names, ElementsAre("preflight", "inventory", "pre-sync", "fence", "final-sync", "verify", "pause",
                                 "promote", "clean-up"));
  EXPECT_EQ(plan["steps"][7]["items"][0]["what"], "promote volume web of pair local");
  EXPECT_EQ(Replica(), before);
  EXPECT_EQ(SourceExport(), "none");
  EXPECT_THAT(Drctl({"failover", "list"})["runs"], IsEmpty());
}

TEST_F(FailoverTest, WithoutAYesNothingIsDone) {
  Start();
  const ProcessResult refused = site_->Drctl({"failover", "run"});
  EXPECT_EQ(refused.exit_code, 5);
  EXPECT_THAT(refused.err, HasSubstr("--yes"));
  EXPECT_EQ(Replica()["state"], "standby");
}

TEST_F(FailoverTest, AReplicaThatIsNotWhatItShouldBeIsNotPromoted) {
  Start({.more_control_settings = "failover: {plans: [{name: shop, volumes: [local/web], verify: digests}]}\n"});
  std::fstream disk(site_->Replica("web") + "/disk", std::ios::in | std::ios::out | std::ios::binary);
  disk.seekp(1 << 20);
  disk.put('X');
  disk.close();
  const nlohmann::json run = Drctl({"failover", "run", "--yes"}, /*expected=*/1);
  EXPECT_EQ(run["result"], "failed");
  EXPECT_THAT(run["error"].get<std::string>(), AllOf(HasSubstr("verify"), HasSubstr("disk")));
  EXPECT_EQ(Replica()["state"], "standby");
  // What it did do is said, with the way back.
  const std::string stays = Drctl({"failover", "abort", run["run"], "--yes"})["stays"].dump();
  EXPECT_THAT(stays, HasSubstr("drctl exports set web none --site primary --pair local"));
  EXPECT_THAT(stays, Not(HasSubstr("demote")));
}

TEST_F(FailoverTest, ARehearsalRunsOnCopiesWhileReplicationGoesOnAndLeavesNothing) {
  Start();
  const nlohmann::json kept = Drctl({"failover", "test", "--keep"});
  EXPECT_EQ(kept["result"], "done");
  const nlohmann::json trees = Drctl({"points", "list"})["trees"];
  ASSERT_THAT(trees, SizeIs(1));
  const std::string copy = trees[0]["path"];
  EXPECT_EQ(Read(copy + "/folder/7"), "7");
  Write(copy + "/folder/7", "changed in the rehearsal");
  Write(site_->Volume("web") + "/meanwhile", "goes on");
  ASSERT_TRUE(site_->Sync("web").ok());
  ExpectEqualTrees();
  EXPECT_EQ(Replica()["state"], "standby");
  // A disaster doesn't wait until somebody has cleared up.
  EXPECT_EQ(Drctl({"failover", "run", "--dry-run"})["dry_run"], true);
  EXPECT_EQ(Drctl({"failover", "clean"})["over"], true);
  EXPECT_THAT(Drctl({"points", "list"})["trees"], IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(copy));
  const nlohmann::json listed = Drctl({"points", "list", "web"});
  for (const auto& point : listed["points"]) EXPECT_EQ(point["label"], nullptr) << point;
  const nlohmann::json whole = Drctl({"failover", "test"});
  EXPECT_EQ(whole["result"], "done");
  EXPECT_EQ(whole["over"], true);
  EXPECT_THAT(Drctl({"points", "list"})["trees"], IsEmpty());
}

TEST_F(FailoverTest, ARehearsalWhosePlanIsGoneIsStillRemoved) {
  Start();
  EXPECT_EQ(Drctl({"failover", "test", "--keep"})["result"], "done");
  ASSERT_THAT(Drctl({"points", "list"})["trees"], SizeIs(1));
  std::string control = Read(site_->File("control.yaml"));
  const size_t plan = control.find("failover: {plans:");
  ASSERT_NE(plan, std::string::npos);
  control.erase(plan, control.find('\n', plan) - plan);
  Write(site_->File("control.yaml"), control);
  const ProcessResult resumed = site_->Drctl({"failover", "resume"});
  EXPECT_EQ(resumed.exit_code, 2) << resumed.err;
  EXPECT_EQ(Drctl({"failover", "clean"})["over"], true);
  EXPECT_THAT(Drctl({"points", "list"})["trees"], IsEmpty());
  EXPECT_THAT(WorkFolders(), IsEmpty());
}

// drctl is killed by SIGKILL at the nth call of one kind: of those that make a record durable, of those that talk to an
// agent, and of those that tell how far it is. So it dies on both sides of each step, and in its midst.
class KilledTest : public FailoverTest, public ::testing::WithParamInterface<const char*> {
 protected:
  // Whether it was killed.
  bool RunKilledAt(int nth, const std::vector<std::string>& command) {
    std::vector<std::string> arguments = {"-f",
                                          "-qq",
                                          "-o",
                                          "/dev/null",
                                          "-e",
                                          fmt::format("inject={}:signal=SIGKILL:when={}", GetParam(), nth),
                                          ProgramPath("drctl"),
                                          "--config",
                                          site_->File("control.yaml")};
    arguments.insert(arguments.end(), command.begin(), command.end());
    const auto result = RunTraced(arguments, absl::Seconds(120));
    EXPECT_TRUE(result.ok()) << result.status();
    return result->signal == SIGKILL || result->exit_code == 128 + SIGKILL;
  }
  // Steps between the calls at which it is killed: all of them in the long form.
  static int Stride() {
    const char* const all = std::getenv("UNDERSTUDY_FAILOVER_KILLS");
    if (all != nullptr) return 1;
    const std::string call = GetParam();
    if (call == "fdatasync") return 4;
    return call == "sendmsg" ? 6 : 11;
  }
};

TEST_P(KilledTest, AResumedRunComesToTheSameEndAndDoesNothingTwice) {
  if (!RunProcess({.program = "strace", .arguments = {"-V"}}).ok()) GTEST_SKIP() << "needs strace: ./dev setup";
  Start();
  int kills = 0;
  uint64_t epoch = Replica()["epoch"];
  for (int nth = 1;; nth += Stride()) {
    SCOPED_TRACE(fmt::format("killed at call {} of {}", nth, GetParam()));
    Write(site_->Volume("web") + "/late", fmt::format("{}", nth));
    const size_t runs_before = Drctl({"failover", "list"})["runs"].size();
    const bool killed = RunKilledAt(nth, {"failover", "run", "--yes"});
    const nlohmann::json runs = Drctl({"failover", "list"})["runs"];
    if (runs.size() == runs_before) {  // killed before there was a run
      ASSERT_TRUE(killed);
      EXPECT_EQ(Replica()["state"], "standby");
      continue;
    }
    if (killed) {
      ++kills;
      EXPECT_THAT(runs[0]["state"], ::testing::AnyOf("interrupted", "done"));
      if (runs[0]["over"] == false) {
        EXPECT_EQ(Drctl({"failover", "resume"})["result"], "done") << last_err_;
      }
    }
    EXPECT_EQ(Drctl({"failover", "list"})["runs"][0]["state"], "done");
    const nlohmann::json replica = Replica();
    EXPECT_EQ(replica["state"], "active");
    EXPECT_EQ(replica["epoch"], epoch + 1) << "promoted more than once";
    EXPECT_EQ(SourceExport(), "ro");
    EXPECT_EQ(Read(site_->Replica("web") + "/late"), fmt::format("{}", nth));
    if (HasFailure()) return;
    Undo();
    epoch = Replica()["epoch"];
    if (!killed) break;
  }
  EXPECT_GT(kills, 3);
}
INSTANTIATE_TEST_SUITE_P(Calls, KilledTest, ::testing::Values("fdatasync", "sendmsg", "write"),
                         [](const auto& parameter) { return std::string(parameter.param); });

}  // namespace
}  // namespace understudy::tests
