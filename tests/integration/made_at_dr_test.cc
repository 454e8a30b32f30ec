// A volume that is made at DR while that is live, with four real agents on two hosts: its copy at the primary never
// comes back over the live data, whatever an agent forgets; nothing at the primary is replaced by it; and when it is
// deleted nobody keeps its name.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "control/commands/agents_client.h"
#include "control/commands/pair_agents.h"
#include "tests/support/tree_compare.h"
#include "tests/support/two_hosts.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void Write(const std::string& path, const std::string& content) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << content;
}

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class MadeAtDrTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& name : TwoHosts::Names()) hosts_.Start(name);
    Write(hosts_.A("page"), "first");
    const absl::Status synced = WaitForOk("the first sync", absl::Minutes(2), [&] {
      const ProcessResult result = hosts_.Drctl({"volumes", "sync", "web", "--published"});
      return result.exit_code == 0 ? absl::OkStatus() : absl::UnavailableError(result.err);
    });
    ASSERT_TRUE(synced.ok()) << synced;
    ASSERT_EQ(hosts_.Drctl({"volumes", "promote", "web", "--yes"}).exit_code, 0);
    ASSERT_EQ(hosts_.Drctl({"volumes", "reprotect", "web", "--yes"}).exit_code, 0);
    Write(Disk("b"), "made at DR");
    const config::PairConfig pair{
        .name = "local",
        .primary = hosts_.Address("primary-a"),
        .dr = hosts_.Address("dr-b"),
        .server_names = {"nfs-a"},
        .dr_server = "nfs-b",
        .reverse = config::ReverseAgents{hosts_.Address("primary-b"), hosts_.Address("dr-a")}};
    config::ControlConfig config{};
    config.tls = {.ca = hosts_.Tls().ca, .cert = hosts_.Tls().cert, .key = hosts_.Tls().key};
    auto agents = control::ConnectPair(config, pair, control::Direction::kToPrimary);
    ASSERT_TRUE(agents.ok()) << agents.status();
    agents_ = *std::move(agents);
  }
  void TearDown() override {
    if (HasFailure()) std::cerr << hosts_.Logs();
  }
  [[nodiscard]] std::string Disk(const std::string& host) const { return hosts_.File(host + "/disk2/content"); }
  [[nodiscard]] kube::NfsSource Source() const { return {.server = "nfs-b", .path = hosts_.File("b/disk2")}; }
  // As a run of the scheduled sync does.
  absl::Status Bring() {
    RETURN_IF_ERROR(agents_->Protect("disk2", Source()).status());
    return agents_->Sync("disk2", absl::Minutes(1), {}).status();
  }
  // As the primary's agent has it when its cluster shows the copy's PersistentVolume.
  absl::Status ShowCopyAtPrimary() {
    ASSIGN_OR_RETURN(const auto primary, control::PrimaryClient::Create(hosts_.Address("primary-a"), hosts_.Tls()));
    return primary.Protect("disk2", {.server = "nfs-a", .path = hosts_.File("a/disk2")}).status();
  }
  std::string StateAtPrimary() {
    const auto primary = control::PrimaryClient::Create(hosts_.Address("primary-a"), hosts_.Tls());
    const auto listed = primary.ok() ? primary->ListVolumes() : primary.status();
    if (!listed.ok()) return std::string(listed.status().message());
    for (const control::PrimaryVolume& volume : listed->volumes) {
      if (volume.name == "disk2") return volume.state;
    }
    return "";
  }
  void LoseState(const std::string& agent) {
    hosts_.Kill(agent);
    fs::remove_all(hosts_.File("state-" + agent));
    hosts_.Start(agent);
  }
  nlohmann::json Status() {
    const nlohmann::json status = hosts_.Json({"status"});
    nlohmann::json volumes;
    for (const nlohmann::json& volume : status["volumes"]) volumes[volume["name"]] = volume;
    return volumes;
  }

  TwoHosts hosts_;
  std::unique_ptr<control::PairAgents> agents_;
};

TEST_F(MadeAtDrTest, ThePrimarysCopyNeverComesBackThoughItsAgentLostItsState) {
  ASSERT_EQ(Bring(), absl::OkStatus());
  ASSERT_EQ(Bring(), absl::OkStatus()) << "once more";
  EXPECT_EQ(Status()["disk2"].value("direction", ""), "to-primary");
  EXPECT_EQ(StateAtPrimary(), "handed-over");
  ASSERT_EQ(hosts_.Drctl({"volumes", "reprotect", "disk2", "--yes"}).exit_code, 0) << "it is turned already";

  LoseState("primary-a");
  ASSERT_EQ(WaitForOk("the copy to be seen", absl::Seconds(30), [&] { return ShowCopyAtPrimary(); }), absl::OkStatus());
  Write(Disk("b"), "written after that");
  EXPECT_EQ(WaitFor("DR to refuse the copy", absl::Seconds(60), [&] { return StateAtPrimary() == "promoted"; }),
            absl::OkStatus());
  EXPECT_EQ(Read(Disk("b")), "written after that");
  // The next run tells the agent again.
  ASSERT_EQ(Bring(), absl::OkStatus());
  EXPECT_EQ(StateAtPrimary(), "handed-over");
  EXPECT_EQ(WaitFor("the copy", absl::Seconds(30), [&] { return Read(Disk("a")) == "written after that"; }),
            absl::OkStatus());
}

TEST_F(MadeAtDrTest, TheFirstCopyReplacesNothingAtThePrimary) {
  Write(Disk("a"), "somebody's");
  const absl::Status refused = Bring();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("isn't empty"));
  EXPECT_EQ(Read(Disk("a")), "somebody's");
  EXPECT_EQ(StateAtPrimary(), "");

  fs::remove_all(hosts_.File("a/disk2"));
  ASSERT_EQ(Bring(), absl::OkStatus());
}

TEST_F(MadeAtDrTest, NorDoesItGoWhereAVolumeOfThePrimaryIs) {
  fs::create_directories(hosts_.File("a/disk2"));
  const auto primary = control::PrimaryClient::Create(hosts_.Address("primary-a"), hosts_.Tls());
  ASSERT_TRUE(primary->Protect("other", {.server = "nfs-a", .path = hosts_.File("a/disk2")}).ok());
  const absl::Status refused = Bring();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("of volume 'other'"));
}

TEST_F(MadeAtDrTest, DeletedThereNobodyKeepsItsName) {
  ASSERT_EQ(Bring(), absl::OkStatus());
  fs::remove_all(hosts_.File("b/disk2"));
  ASSERT_EQ(agents_->Release("disk2", Source()), absl::OkStatus());
  ASSERT_EQ(agents_->Release("disk2", Source()), absl::OkStatus()) << "once more";
  EXPECT_FALSE(Status().contains("disk2"));

  // Another one of that name, made at the primary.
  Write(Disk("a"), "made at the primary");
  ASSERT_EQ(ShowCopyAtPrimary(), absl::OkStatus());
  EXPECT_EQ(WaitFor("it to be at DR", absl::Seconds(60), [&] { return Read(Disk("b")) == "made at the primary"; }),
            absl::OkStatus());
}

}  // namespace
}  // namespace understudy::tests
