// Recovery points with two real agents and drctl: a user goes back to before a mistake, looks at a state beside the
// replica, and goes on.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
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
  Drctl({"points", "remove", tree.at("id").get<std::string>()});
  EXPECT_FALSE(std::filesystem::exists(path));
  Drctl({"points", "remove", tree.at("id").get<std::string>()}, 2);
  Drctl({"points", "forget", "web", "first"});
  Drctl({"points", "forget", "web", "first"}, 2);
}

}  // namespace
}  // namespace understudy::tests
