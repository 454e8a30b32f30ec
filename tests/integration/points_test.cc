// Recovery points with two real agents and drctl: a user goes back to before a mistake, looks at a state beside the
// replica, and goes on.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/support/process.h"
#include "tests/support/site.h"
#include "tests/support/tree_compare.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class PointsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto site = Site::Make({});
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    ASSERT_TRUE(site_->StartDr().ok());
    ASSERT_TRUE(site_->StartPrimary().ok());
    std::filesystem::create_directory(site_->Volume("web") + "/d");
    Write("d/page", "good");
    Write("index", "first");
    ASSERT_TRUE(site_->Sync("web").ok());
  }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(site_->Volume("web") + "/" + name) << text;
  }
  // A copy of the volume as it is now.
  std::string Copy(const std::string& name) {
    const std::string copy = site_->Volume("web") + "-" + name;
    const auto copied = RunProcess({.program = "cp", .arguments = {"-a", site_->Volume("web"), copy}});
    EXPECT_TRUE(copied.ok() && copied->exit_code == 0) << copied.status();
    return copy;
  }
  void ExpectEqual(const std::string& left, const std::string& right) {
    const auto differences = CompareTrees(left, right);
    ASSERT_TRUE(differences.ok()) << differences.status();
    EXPECT_THAT(*differences, IsEmpty()) << left << " and " << right;
  }
  nlohmann::json Drctl(std::vector<std::string> arguments, int exit_code = 0) {
    arguments.insert(arguments.end(), {"-o", "json"});
    const ProcessResult result = site_->Drctl(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    err_ = result.err;
    return exit_code == 0 ? nlohmann::json::parse(result.out) : nlohmann::json();
  }

  std::unique_ptr<Site> site_;
  std::string err_;
};

TEST_F(PointsTest, BackToBeforeAMistakeAndForwardAgain) {
  Drctl({"points", "create", "web", "--label", "before"});
  const std::string before = Copy("before");
  std::filesystem::remove(site_->Volume("web") + "/d/page");
  Write("index", "a mistake");
  ASSERT_TRUE(site_->Sync("web").ok());
  const std::string after = Copy("after");
  EXPECT_EQ(Drctl({"points", "create", "web", "--label", "before"}, 1), nullptr);
  EXPECT_THAT(err_, HasSubstr("is called 'before' already"));

  nlohmann::json listed = Drctl({"points", "list", "web"});
  const uint64_t newest = listed.at("newest").at("sequence");
  EXPECT_FALSE(listed.at("held"));
  bool found = false;
  for (const auto& point : listed.at("points")) found = found || point.at("label") == "before";
  EXPECT_TRUE(found) << listed.dump(1);

  // Nobody can be asked, so nothing happens without --yes.
  Drctl({"points", "rewind", "web", "before"}, 5);
  ExpectEqual(after, site_->Replica("web"));
  const nlohmann::json rewound = Drctl({"points", "rewind", "web", "before", "--yes"});
  EXPECT_EQ(rewound.at("from_sequence"), newest);
  ExpectEqual(before, site_->Replica("web"));

  // The primary doesn't bring it up to date again while it is held.
  Write("index", "later");
  EXPECT_TRUE(WaitFor("the refusal at the primary", absl::Seconds(60), [&] {
                const auto volumes = Drctl({"status"}).at("volumes");
                const auto& error = volumes.at(0).at("error");
                return error.is_string() && error.get<std::string>().find("held there") != std::string::npos;
              }).ok());
  ExpectEqual(before, site_->Replica("web"));
  EXPECT_TRUE(Drctl({"points", "list", "web"}).at("held"));
  Drctl({"points", "rewind", "web", fmt::format("{}", newest), "--yes"});
  ExpectEqual(after, site_->Replica("web"));
  Drctl({"points", "rewind", "web", "nowhere", "--yes"}, 2);
  Drctl({"points", "rewind", "web", "1990-01-01T00:00:00Z", "--yes"}, 2);
  Drctl({"points", "rewind", "web", "2990-01-01T00:00:00Z", "--yes"});
  ExpectEqual(after, site_->Replica("web"));

  Drctl({"volumes", "resume", "web"});
  ASSERT_TRUE(site_->Sync("web").ok());
  ExpectEqual(site_->Volume("web"), site_->Replica("web"));
}

TEST_F(PointsTest, ASecondLabelOfAnIdleVolumeIsRefused) {
  const uint64_t state = Drctl({"points", "create", "web", "--label", "before-upgrade", "--pin"}).at("sequence");
  Drctl({"points", "create", "web", "--label", "nightly"}, 1);
  EXPECT_THAT(err_, HasSubstr("drctl points forget web before-upgrade first"));
  const nlohmann::json newest = Drctl({"points", "list", "web"}).at("newest");
  EXPECT_EQ(newest.at("label"), "before-upgrade");
  EXPECT_TRUE(newest.at("pinned"));
  EXPECT_EQ(Drctl({"points", "create", "web", "--label", "before-upgrade"}).at("sequence"), state);
  EXPECT_FALSE(Drctl({"points", "list", "web"}).at("newest").at("pinned"));
}

// The state is named by what the table shows of it, not by its number.
TEST_F(PointsTest, BackToAShownTime) {
  const std::string first = Copy("first");
  Write("index", "second");
  ASSERT_TRUE(site_->Sync("web").ok());
  const std::string second = Copy("second");
  Write("index", "third");
  ASSERT_TRUE(site_->Sync("web").ok());
  const uint64_t wanted = Drctl({"points", "list", "web"}).at("points").at(0).at("sequence");
  std::istringstream table(site_->Drctl({"points", "list", "web"}).out);
  std::string shown;
  for (std::string line; std::getline(table, line);) {
    std::istringstream cells(line);
    std::string state;
    std::string time;
    cells >> state >> time;
    if (state == fmt::format("{}", wanted)) shown = time;
  }
  EXPECT_EQ(Drctl({"points", "rewind", "web", shown, "--yes"}).at("state").at("sequence"), wanted) << shown;
  ExpectEqual(second, site_->Replica("web"));
  // What is newer than what is shown now stands first.
  const nlohmann::json listed = Drctl({"points", "list", "web"});
  EXPECT_GT(listed.at("points").at(0).at("captured_at"), listed.at("newest").at("captured_at"));
}

TEST_F(PointsTest, AHeldVolumeHangsNobodyAndIsReleasedWithoutItsPrimary) {
  const uint64_t newest = Drctl({"points", "list", "web"}).at("newest").at("sequence");
  Drctl({"points", "rewind", "web", fmt::format("{}", newest), "--yes"});
  EXPECT_TRUE(Drctl({"points", "list", "web"}).at("held"));
  Drctl({"points", "create", "web", "--label", "held"}, 5);
  EXPECT_THAT(err_, HasSubstr("drctl volumes resume web"));
  Drctl({"points", "create", "web", "--label", "held", "--no-sync"});
  EXPECT_EQ(site_->primary().Stop().exit_code, 0);
  Drctl({"volumes", "resume", "web"}, 3);
  EXPECT_FALSE(Drctl({"points", "list", "web"}).at("held"));
  ASSERT_TRUE(site_->StartPrimary().ok());
  Write("index", "later");
  ASSERT_TRUE(site_->Sync("web").ok());
  ExpectEqual(site_->Volume("web"), site_->Replica("web"));
}

TEST_F(PointsTest, AStateBesideTheReplica) {
  Drctl({"points", "create", "web", "--label", "first", "--pin"});
  const std::string first = Copy("first");
  Write("index", "second");
  ASSERT_TRUE(site_->Sync("web").ok());
  const nlohmann::json tree = Drctl({"points", "materialise", "web", "first", "--writable"});
  const std::string path = tree.at("path");
  ExpectEqual(first, path);
  // Each goes on by itself.
  std::ofstream(path + "/index") << "a test failover";
  Write("index", "third");
  ASSERT_TRUE(site_->Sync("web").ok());
  ExpectEqual(site_->Volume("web"), site_->Replica("web"));
  const nlohmann::json listed = Drctl({"points", "list", "web"});
  ASSERT_EQ(listed.at("trees").size(), 1u);
  EXPECT_EQ(listed.at("trees")[0].at("state"), "ready");
  Drctl({"points", "materialise", "web", "first"}, 2);
  const nlohmann::json all = Drctl({"points", "list"}).at("trees");
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].at("volume"), "web");
  // What was written to it doesn't go by a slip of the hand.
  Drctl({"points", "remove", tree.at("id").get<std::string>()}, 5);
  EXPECT_TRUE(std::filesystem::exists(path));
  Drctl({"points", "remove", tree.at("id").get<std::string>(), "--yes"});
  EXPECT_FALSE(std::filesystem::exists(path));
  Drctl({"points", "remove", tree.at("id").get<std::string>(), "--yes"}, 2);
  EXPECT_THAT(Drctl({"points", "list"}).at("trees"), IsEmpty());
  Drctl({"points", "forget", "web", "first"});
  Drctl({"points", "forget", "web", "first"}, 2);
}

}  // namespace
}  // namespace understudy::tests
