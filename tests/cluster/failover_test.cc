// Failovers between two real API servers, with real agents, a real S3 server, and small programs that play KubeVirt and
// Velero.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <thread>

#include "tests/cluster/failover_site.h"
#include "tests/support/velero_archive.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

class ClusterFailoverTest : public ::testing::Test {
 protected:
  void Start(const FailoverSite::Options& options) {
    auto made = FailoverSite::Make(options);
    if (absl::IsFailedPrecondition(made.status())) GTEST_SKIP() << made.status();
    ASSERT_TRUE(made.ok()) << made.status();
    site_ = *std::move(made);
  }
  void TearDown() override {
    if (HasFailure() && site_ != nullptr) std::cerr << site_->site().primary().Err() << site_->site().dr().Err();
  }
  void Write(const std::string& folder, const std::string& text) { std::ofstream(folder + "/content") << text; }
  static std::string Read(const std::string& folder) {
    std::ifstream file(folder + "/content");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // drctl dies at the nth call that makes a record durable; whether it did.
  bool RunKilledAt(int nth, const std::vector<std::string>& command) {
    std::vector<std::string> arguments = {"-f",
                                          "-qq",
                                          "-o",
                                          "/dev/null",
                                          "-e",
                                          fmt::format("inject=fdatasync:signal=SIGKILL:when={}", nth),
                                          ProgramPath("drctl"),
                                          "--config",
                                          site_->site().File("control.yaml")};
    arguments.insert(arguments.end(), command.begin(), command.end());
    const auto result = RunTraced(arguments, absl::Minutes(3));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() && (result->signal == SIGKILL || result->exit_code == 128 + SIGKILL);
  }
  size_t RestoreCount() {
    const auto restores = site_->clusters().dr().Get("/apis/velero.io/v1/restores");
    return restores.ok() ? restores->at("items").size() : 0;
  }

  std::unique_ptr<FailoverSite> site_;
};

TEST_F(ClusterFailoverTest, BackupsThatCannotBeUsedCostNothingAndAPlannedRunThatIsKilledAgainAndAgainLosesNothing) {
  ASSERT_NO_FATAL_FAILURE(Start({.machines = 3}));
  if (site_ == nullptr) return;
  ASSERT_EQ(
      site_->clusters()
          .primary()
          .Post("/api/v1/namespaces/shop/configmaps", {{"metadata", {{"name", "settings"}}}, {"data", {{"k", "v"}}}})
          .status(),
      absl::OkStatus());
  const absl::StatusOr<std::string> good = site_->ArchiveNow();
  ASSERT_TRUE(good.ok()) << good.status();

  // What can't be used stops the run before anything is changed, anywhere.
  ASSERT_EQ(site_->PutBackup("truncated", good->substr(0, good->size() / 2)), absl::OkStatus());
  ASSERT_EQ(site_->PutBackup("elsewhere", *good, {{"spec", {{"includedNamespaces", {"other"}}}}}), absl::OkStatus());
  ASSERT_EQ(site_->PutBackup("garbage", "not an archive"), absl::OkStatus());
  VeleroArchive bad_entry;
  bad_entry.AddFile("resources/persistentvolumes/cluster/pv-disk0.json", "{\"kind\": \"PersistentVolume\", ");
  ASSERT_EQ(site_->PutBackup("bad-entry", bad_entry.TarGz()), absl::OkStatus());
  const std::string before = site_->PictureOfDr();
  const std::map<std::string, std::string> why_not = {{"truncated", "truncated"},
                                                      {"elsewhere", "namespace shop"},
                                                      {"garbage", "gzip"},
                                                      {"bad-entry", "resources/"},
                                                      {"missing", "no backup"}};
  for (const auto& [backup, why] : why_not) {
    SCOPED_TRACE(backup);
    const json run = site_->Drctl({"failover", "run", "--yes", "--backup", backup});
    EXPECT_EQ(site_->exit_code(), 1) << site_->err();
    EXPECT_THAT(run["error"].get<std::string>(), AllOf(HasSubstr(backup), HasSubstr(why)));
    (void)site_->Drctl({"failover", "abort", run["run"], "--yes"});
    EXPECT_EQ(site_->exit_code(), 0);
  }
  EXPECT_EQ(site_->PictureOfDr(), before);
  EXPECT_THAT(FailoverSite::Machines(site_->clusters().primary()), Each(Pair(::testing::_, "Running")));

  ASSERT_EQ(site_->BackUp("nightly"), absl::OkStatus());
  Write(site_->site().Volume("pv-disk1"), "written last");
  const uint64_t epoch = site_->Drctl({"volumes", "show", "pv-disk1"})["replica"]["epoch"];
  int deaths = 0;
  std::vector<std::string> command = {"failover", "run", "--yes"};
  while (RunKilledAt(9, command)) {
    ++deaths;
    ASSERT_LT(deaths, 100) << "it doesn't get on: " << site_->Drctl({"failover", "report"});
    if (!site_->Drctl({"failover", "list"})["runs"][0].value("over", true)) command = {"failover", "resume"};
  }
  EXPECT_GT(deaths, 4);
  const json runs = site_->Drctl({"failover", "list"})["runs"];
  EXPECT_EQ(runs[0]["state"], "done") << runs[0];

  EXPECT_EQ(site_->CompareDisks(3), absl::OkStatus());
  EXPECT_EQ(Read(site_->site().Replica("pv-disk1")), "written last");
  EXPECT_THAT(FailoverSite::Machines(site_->clusters().primary()), Each(Pair(::testing::_, "Stopped")));
  const auto machines = FailoverSite::Machines(site_->clusters().dr());
  EXPECT_THAT(machines, SizeIs(3));
  EXPECT_THAT(machines, Each(Pair(::testing::_, "Running")));
  // Nothing was done twice.
  EXPECT_EQ(RestoreCount(), 1U);
  for (int i = 0; i < 3; ++i) {
    const control::VmKey key{"shop", fmt::format("vm{}", i)};
    EXPECT_EQ(site_->primary_kubevirt().Calls("stop", key), 1) << key.name;
    const json volume = site_->Drctl({"volumes", "show", fmt::format("pv-disk{}", i)});
    EXPECT_EQ(volume["replica"]["state"], "active");
    EXPECT_EQ(volume["replica"]["epoch"], epoch + 1);
  }
  const auto restored = site_->clusters().dr().Get("/api/v1/namespaces/shop/configmaps/settings");
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ((*restored)["data"]["k"], "v");
  // Claims are bound to the replicas.
  const auto claim = site_->clusters().dr().Get("/api/v1/namespaces/shop/persistentvolumeclaims/disk1");
  ASSERT_TRUE(claim.ok()) << claim.status();
  EXPECT_EQ((*claim)["status"]["phase"], "Bound");
  const auto volume = site_->clusters().dr().Get("/api/v1/persistentvolumes/pv-disk1");
  EXPECT_EQ((*volume)["spec"]["nfs"]["path"], site_->site().Replica("pv-disk1"));
}

TEST_F(ClusterFailoverTest, ARehearsalUnderConstantWritesLeavesNothingAndThenThePrimarySiteBurns) {
  ASSERT_NO_FATAL_FAILURE(Start({.machines = 10, .serve_subresources = false}));
  if (site_ == nullptr) return;
  ASSERT_EQ(site_->BackUp("nightly", "vm4"), absl::OkStatus());
  const std::string before = site_->PictureOfDr();

  std::atomic<int> written = 0;
  double worst_lag = 0;
  {
    std::jthread writer([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        Write(site_->site().Volume("pv-disk0"), fmt::format("{}", written.load()));
        ++written;
        std::this_thread::yield();
      }
    });
    const json kept = site_->Drctl({"failover", "test", "--keep"});
    EXPECT_EQ(site_->exit_code(), 3) << site_->err();  // vm4 doesn't get well
    const auto machines = FailoverSite::Machines(site_->clusters().dr(), "shop-drtest");
    EXPECT_EQ(std::count_if(machines.begin(), machines.end(), [](const auto& m) { return m.second == "Running"; }), 9);
    EXPECT_THAT(FailoverSite::Machines(site_->clusters().primary()), Each(Pair(::testing::_, "Running")));
    const nlohmann::json listed = site_->Drctl({"status"});
    for (const json& volume : listed["volumes"]) {
      worst_lag = std::max(worst_lag, volume["lag_seconds"].get<double>());
    }
    (void)site_->Drctl({"failover", "clean"});
    EXPECT_EQ(site_->exit_code(), 0) << site_->err();
  }
  EXPECT_LT(worst_lag, 60);
  ASSERT_EQ(site_->site().Sync("pv-disk0"), absl::OkStatus());
  EXPECT_EQ(site_->CompareDisks(10), absl::OkStatus());
  EXPECT_FALSE(site_->clusters().dr().Get("/api/v1/namespaces/shop-drtest").ok());
  EXPECT_THAT(site_->Drctl({"points", "list"})["trees"], IsEmpty());
  EXPECT_THAT(site_->Drctl({"exports", "list", "--site", "dr"})["exports"], SizeIs(10));
  EXPECT_EQ(RestoreCount(), 0U);
  const auto volumes = site_->clusters().dr().Get("/api/v1/persistentvolumes");
  EXPECT_THAT(volumes->at("items"), SizeIs(10));

  site_->site().primary().Kill();
  site_->clusters().primary().StopApi();
  const json run = site_->Drctl({"failover", "run", "--unplanned", "--yes"});
  EXPECT_EQ(site_->exit_code(), 3) << site_->err();
  EXPECT_EQ(run["result"], "partial");
  EXPECT_THAT(site_->err(), HasSubstr("boot shop/vm4: broken"));
  const auto machines = FailoverSite::Machines(site_->clusters().dr());
  EXPECT_EQ(std::count_if(machines.begin(), machines.end(), [](const auto& m) { return m.second == "Running"; }), 9);
  EXPECT_EQ(site_->CompareDisks(10), absl::OkStatus());
}

}  // namespace
}  // namespace understudy::tests
