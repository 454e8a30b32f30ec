// Two real agents and drctl: the old primary can't write to a promoted replica, whatever it and the link do; a demoted
// one becomes equal again; a paused volume stays as it is over restarts.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "nlohmann/json.hpp"
#include "tests/support/net_link.h"
#include "tests/support/site.h"
#include "tests/support/tree_compare.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

void Write(const std::string& path, const std::string& content) {
  std::ofstream(path) << content;
}

// Every entry with all that could change of it: content, and the times that any write leaves.
std::map<std::string, std::string> Picture(const std::string& folder) {
  std::map<std::string, std::string> picture;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    struct stat raw {};
    EXPECT_EQ(lstat(entry.path().c_str(), &raw), 0);
    std::string content;
    if (S_ISREG(raw.st_mode)) {
      std::ifstream file(entry.path());
      content.assign(std::istreambuf_iterator<char>(file), {});
    }
    picture[entry.path().string()] =
        fmt::format("{} {} {} {}.{} {}.{} {}", raw.st_ino, raw.st_mode, raw.st_size, raw.st_mtim.tv_sec,
                    raw.st_mtim.tv_nsec, raw.st_ctim.tv_sec, raw.st_ctim.tv_nsec, content);
  }
  return picture;
}

class PromotionTest : public ::testing::Test {
 protected:
  void Start(const SiteOptions& options = {}) {
    auto site = Site::Make(options);
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    ASSERT_TRUE(site_->StartDr().ok());
    ASSERT_TRUE(site_->StartPrimary().ok());
  }
  void TearDown() override {
    if (HasFailure() && site_ != nullptr) std::cerr << site_->primary().Err() << site_->dr().Err();
  }
  nlohmann::json VolumeStatus() {
    const ProcessResult result = site_->Drctl({"status", "-o", "json"});
    const nlohmann::json status = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    return status.is_object() && !status.at("volumes").empty() ? status.at("volumes").at(0) : nlohmann::json::object();
  }
  std::string StateOf() { return VolumeStatus().value("state", ""); }
  void ExpectEqual() {
    ASSERT_TRUE(site_->Sync("web").ok());
    const auto differences = CompareTrees(site_->Volume("web"), site_->Replica("web"));
    ASSERT_TRUE(differences.ok()) << differences.status();
    EXPECT_THAT(*differences, IsEmpty());
  }
  void WriteSome() {
    std::filesystem::create_directories(site_->Volume("web") + "/folder");
    for (int i = 0; i < 20; ++i) Write(fmt::format("{}/folder/{}", site_->Volume("web"), i), fmt::format("{}", i));
    Write(site_->Volume("web") + "/page", "first");
    Write(site_->Volume("web") + "/disk", std::string(3 << 20, 'd'));
  }

  std::unique_ptr<NetLink> link_;
  std::unique_ptr<Site> site_;
};

TEST_F(PromotionTest, SplitBrainLeavesDrAsItIsAndTheStatusSaysWhatToDo) {
  auto link = NetLink::Make();
  if (absl::IsUnimplemented(link.status())) GTEST_SKIP() << link.status();
  ASSERT_TRUE(link.ok()) << link.status();
  link_ = *std::move(link);
  Start({.primary_host = link_->LeftAddress(),
         .dr_host = link_->RightAddress(),
         .primary_prefix = link_->Left(),
         .dr_prefix = link_->Right()});
  WriteSome();
  ExpectEqual();

  ASSERT_TRUE(link_->Pull().ok());
  Write(site_->Volume("web") + "/page", "written at the old primary");
  Write(site_->Volume("web") + "/only-primary", "p");
  std::filesystem::remove(site_->Volume("web") + "/folder/3");
  // At DR's end of the cable nobody sees the primary; that doesn't hold the promotion up.
  const ProcessResult unasked = site_->DrctlAtDr({"volumes", "promote", "web"});
  EXPECT_EQ(unasked.exit_code, 5) << unasked.err;
  EXPECT_THAT(unasked.err, AllOf(HasSubstr("epoch: 1 becomes 2"), HasSubstr("primary: can't be reached"),
                                 HasSubstr("as the primary had it at"), HasSubstr("add --yes")));
  const ProcessResult promoted = site_->DrctlAtDr({"volumes", "promote", "web", "--yes", "-o", "json"});
  ASSERT_EQ(promoted.exit_code, 0) << promoted.err;
  EXPECT_EQ(nlohmann::json::parse(promoted.out).at("state"), "active");
  Write(site_->Replica("web") + "/page", "written at DR");
  Write(site_->Replica("web") + "/only-dr", "d");
  const auto at_dr = Picture(site_->Replica("web"));

  ASSERT_TRUE(link_->Plug().ok());
  const absl::Status refused =
      WaitFor("the old primary to be refused", absl::Seconds(120), [&] { return StateOf() == "promoted"; });
  ASSERT_TRUE(refused.ok()) << refused << VolumeStatus();
  // More is written, and a barrier asked for: still nothing comes.
  Write(site_->Volume("web") + "/page", "again");
  const ProcessResult sync = site_->Drctl({"volumes", "sync", "web"});
  EXPECT_EQ(sync.exit_code, 5) << sync.err;
  EXPECT_THAT(sync.err, HasSubstr("was promoted at DR (epoch 2)"));
  EXPECT_EQ(Picture(site_->Replica("web")), at_dr);

  const ProcessResult status = site_->Drctl({"status"});
  EXPECT_EQ(status.exit_code, 0) << status.err;
  EXPECT_THAT(status.out, AllOf(HasSubstr("web: volume 'web' was promoted at DR (epoch 2)"),
                                HasSubstr("`drctl volumes demote web`"), HasSubstr("`drctl volumes reprotect web`")));
  const nlohmann::json volume = VolumeStatus();
  EXPECT_EQ(volume.at("state"), "promoted");
  EXPECT_TRUE(volume.at("lag_seconds").is_null());
  EXPECT_EQ(volume.at("replica").at("state"), "active");
  EXPECT_EQ(volume.at("replica").at("epoch"), 2);
  EXPECT_THAT(volume.at("error").get<std::string>(), HasSubstr("was promoted at DR (epoch 2)"));

  // Neither agent forgets it.
  site_->dr().Kill();
  site_->primary().Kill();
  ASSERT_TRUE(site_->StartDr().ok());
  ASSERT_TRUE(site_->StartPrimary().ok());
  ASSERT_TRUE(
      WaitFor("the old primary to be refused", absl::Seconds(60), [&] { return StateOf() == "promoted"; }).ok());
  EXPECT_EQ(Picture(site_->Replica("web")), at_dr);

  // The primary's data is to count: DR reconciles, and what was written there is a recovery point.
  const ProcessResult demoted = site_->Drctl({"volumes", "demote", "web", "--yes"});
  ASSERT_EQ(demoted.exit_code, 0) << demoted.err;
  ExpectEqual();
  EXPECT_FALSE(std::filesystem::exists(site_->Replica("web") + "/only-dr"));
  EXPECT_EQ(VolumeStatus().at("epoch"), 2);
  Write(site_->Volume("web") + "/later", "goes on as before");
  ExpectEqual();
}

TEST_F(PromotionTest, HooksRunAtDrAndDecide) {
  SiteOptions options;
  options.more_dr_settings = "hooks: {dir: hooks.d, timeout: 30s}\n";
  Start(options);
  WriteSome();
  ExpectEqual();
  const auto hook = [&](const std::string& name, const std::string& script) {
    const std::filesystem::path path = site_->File("hooks.d/" + name);
    std::filesystem::create_directories(path.parent_path());
    Write(path.string(), "#!/bin/sh\n" + script + "\n");
    ASSERT_EQ(chmod(path.c_str(), 0755), 0);
  };
  hook("pre-promote/10-check", "echo the witness says no >&2; exit 1");
  const ProcessResult refused = site_->Drctl({"volumes", "promote", "web", "--yes"});
  EXPECT_EQ(refused.exit_code, 1) << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("the witness says no"), HasSubstr("wasn't promoted")));
  ExpectEqual();
  hook("pre-promote/10-check", "cat > " + site_->File("input"));
  hook("post-promote/10-tell", "echo told");
  const ProcessResult promoted = site_->Drctl({"volumes", "promote", "web", "--yes", "-o", "json"});
  ASSERT_EQ(promoted.exit_code, 0) << promoted.err;
  const nlohmann::json result = nlohmann::json::parse(promoted.out);
  ASSERT_EQ(result.at("hooks").size(), 2u);
  EXPECT_EQ(result.at("hooks").at(1).at("output"), "told\n");
  std::ifstream input(site_->File("input"));
  EXPECT_EQ(nlohmann::json::parse(input).at("volume").at("replica_path"), site_->Replica("web"));
  // An idle primary finds out with the next change.
  Write(site_->Volume("web") + "/page", "too late");
  EXPECT_TRUE(WaitFor("the primary to be refused", absl::Seconds(60), [&] { return StateOf() == "promoted"; }).ok());
  EXPECT_EQ(site_->Drctl({"volumes", "promote", "web", "--yes"}).exit_code, 0) << "again is fine";
}

TEST_F(PromotionTest, APausedVolumeStaysAsItIsOverRestartsAndGoesOn) {
  Start();
  WriteSome();
  ExpectEqual();
  const ProcessResult paused = site_->Drctl({"volumes", "pause", "web", "-o", "json"});
  ASSERT_EQ(paused.exit_code, 0) << paused.err;
  EXPECT_EQ(nlohmann::json::parse(paused.out).at("state"), "paused");
  const auto at_dr = Picture(site_->Replica("web"));
  Write(site_->Volume("web") + "/page", "while it was paused");
  const absl::Status lags =
      WaitFor("the lag to grow", absl::Seconds(30), [&] { return VolumeStatus().at("lag_seconds") > 1; });
  EXPECT_TRUE(lags.ok()) << lags << VolumeStatus();
  const ProcessResult sync = site_->Drctl({"volumes", "sync", "web"});
  EXPECT_EQ(sync.exit_code, 5) << sync.err;
  EXPECT_THAT(sync.err, AllOf(HasSubstr("is paused since"), HasSubstr("drctl volumes resume web")));
  EXPECT_THAT(site_->Drctl({"status"}).out, HasSubstr("drctl volumes resume web"));

  site_->primary().Kill();
  Write(site_->Volume("web") + "/while-down", "d");
  ASSERT_TRUE(site_->StartPrimary().ok());
  ASSERT_TRUE(WaitFor("the primary to answer", absl::Seconds(60), [&] { return StateOf() == "paused"; }).ok());
  EXPECT_GT(VolumeStatus().at("lag_seconds"), 1) << "nobody knows of an earlier change by now, and it may be there";
  EXPECT_EQ(site_->Drctl({"volumes", "sync", "web"}).exit_code, 5);
  EXPECT_EQ(site_->Drctl({"volumes", "pause", "web"}).exit_code, 0) << "again is fine";
  EXPECT_EQ(Picture(site_->Replica("web")), at_dr);

  const ProcessResult resumed = site_->Drctl({"volumes", "resume", "web"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  ExpectEqual();
  EXPECT_EQ(VolumeStatus().at("lag_seconds"), 0);
  EXPECT_EQ(site_->Drctl({"volumes", "resume", "web"}).exit_code, 0) << "again is fine";
  EXPECT_THAT(site_->Drctl({"status"}).out, Not(HasSubstr("paused")));
}

}  // namespace
}  // namespace understudy::tests
