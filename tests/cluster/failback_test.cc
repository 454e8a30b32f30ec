// The way there and back between two real API servers: failover, reprotect, work at DR, failback, and over again; with
// four real agents, drctl serve, a real S3 server, and small programs that play KubeVirt and Velero at both clusters.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>

#include "tests/cluster/failover_site.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr absl::Duration kPatience = absl::Minutes(2);
constexpr char kClaims[] = "/api/v1/namespaces/shop/persistentvolumeclaims";
constexpr char kVolumes[] = "/api/v1/persistentvolumes";

void Write(const std::string& folder, const std::string& text) {
  std::ofstream(folder + "/content") << text;
}

std::string Read(const std::string& folder) {
  std::ifstream file(folder + "/content");
  return {std::istreambuf_iterator<char>(file), {}};
}

// The storage objects of a cluster, as text: equal texts mean that nothing was changed.
std::string PictureOf(Cluster& cluster) {
  std::string picture;
  for (const char* const path : {kClaims, kVolumes}) {
    const auto listed = cluster.Get(path);
    EXPECT_TRUE(listed.ok()) << listed.status();
    if (!listed.ok()) continue;
    for (const json& object : listed->at("items")) picture += object.dump() + "\n";
  }
  return picture;
}

class ClusterFailbackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = FailoverSite::Make({.machines = 2, .both_ways = true});
    if (absl::IsFailedPrecondition(made.status())) GTEST_SKIP() << made.status();
    ASSERT_TRUE(made.ok()) << made.status();
    site_ = *std::move(made);
  }
  void TearDown() override {
    if (!HasFailure() || site_ == nullptr) return;
    Site& site = site_->site();
    for (Process* const process :
         {&site.primary(), &site.dr(), &site.reverse_primary(), &site.reverse_dr(), &site.serve()}) {
      std::cerr << "---\n" << process->Err();
    }
  }
  Cluster& primary() { return site_->clusters().primary(); }
  Cluster& dr() { return site_->clusters().dr(); }

  void ExpectDone(const std::vector<std::string>& command) {
    const json run = site_->Drctl(command);
    ASSERT_EQ(run.value("result", ""), "done") << run.dump(1) << site_->err();
    EXPECT_EQ(site_->exit_code(), 0) << site_->err();
  }
  // By volume.
  std::map<std::string, std::string> Directions() {
    std::map<std::string, std::string> directions;
    const json status = site_->Drctl({"status"});
    for (const json& volume : status["volumes"]) directions[volume["name"]] = volume["direction"];
    return directions;
  }
  // What became of each claim and volume in a run of the scheduled sync: "outcome direction", by name.
  std::map<std::string, std::string> SyncOutcomes() {
    const json report = site_->Drctl({"sync", "run"});
    EXPECT_EQ(site_->exit_code(), 0) << report.dump(1) << site_->err();
    std::map<std::string, std::string> outcomes;
    for (const json& object : report["objects"]) {
      const bool is_new = outcomes
                              .emplace(object["name"], fmt::format("{} {}", object["outcome"].get<std::string>(),
                                                                   object["direction"].get<std::string>()))
                              .second;
      EXPECT_TRUE(is_new) << object["name"] << " is there twice: " << report.dump(1);
    }
    return outcomes;
  }
  // Every machine runs at `live`, by one instance, and none at `other`.
  void ExpectMachines(Cluster& live, Cluster& other, size_t count) {
    const auto machines = FailoverSite::Machines(live);
    EXPECT_THAT(machines, AllOf(SizeIs(count), Each(Pair(::testing::_, "Running"))));
    EXPECT_THAT(FailoverSite::Machines(other), Each(Pair(::testing::_, "Stopped")));
    for (const auto& [cluster, instances] : {std::pair(&live, count), std::pair(&other, size_t{0})}) {
      const auto listed = cluster->Get("/apis/kubevirt.io/v1/virtualmachineinstances");
      ASSERT_TRUE(listed.ok()) << listed.status();
      EXPECT_THAT(listed->at("items"), SizeIs(instances));
    }
  }
  // The claim is bound to the volume of its name, which is at that NFS server in that folder.
  static void ExpectBound(Cluster& cluster, const std::string& disk, const std::string& server,
                          const std::string& folder) {
    const auto claim = cluster.Get(fmt::format("{}/{}", kClaims, disk));
    ASSERT_TRUE(claim.ok()) << claim.status();
    EXPECT_EQ((*claim)["status"]["phase"], "Bound") << disk;
    const auto volume = cluster.Get(fmt::format("{}/pv-{}", kVolumes, disk));
    ASSERT_TRUE(volume.ok()) << volume.status();
    EXPECT_EQ((*volume)["spec"]["nfs"]["server"], server) << disk;
    EXPECT_EQ((*volume)["spec"]["nfs"]["path"], folder) << disk;
  }
  static std::string UidOf(Cluster& cluster, const std::string& path) {
    const auto object = cluster.Get(path);
    return object.ok() ? (*object)["metadata"]["uid"].get<std::string>() : std::string(object.status().message());
  }
  absl::Status WaitForMachine(Cluster& cluster, const std::string& name) {
    return WaitFor(name + " to run", kPatience, [&] { return FailoverSite::Machines(cluster)[name] == "Running"; });
  }
  // Whether drctl serve has brought the whole catalog to the cluster once.
  absl::Status ServeIsReady() {
    const std::string url = fmt::format("http://127.0.0.1:{}/readyz", site_->site().control_metrics_port());
    ASSIGN_OR_RETURN(const ProcessResult asked, RunProcess({.program = "curl", .arguments = {"-sf", url}}));
    return asked.exit_code == 0 ? absl::OkStatus() : absl::UnavailableError(asked.out);
  }
  int Stops(KubeVirtPlayer& kubevirt, int machine) {
    return kubevirt.Calls("stop", {"shop", fmt::format("vm{}", machine)});
  }

  std::unique_ptr<FailoverSite> site_;
};

TEST_F(ClusterFailbackTest, MachinesClaimsAndDataGoThereAndBackAndThereAgainWithWhatWasMadeAtDr) {
  // A claim that no machine uses, to be deleted at DR.
  ASSERT_EQ(site_->clusters().Create("shop", "spare"), absl::OkStatus());
  ASSERT_EQ(site_->clusters().ExpectEqual(kPatience), absl::OkStatus());
  const std::string first_disk = UidOf(primary(), fmt::format("{}/disk0", kClaims));
  ASSERT_EQ(site_->BackUp("nightly"), absl::OkStatus());
  ASSERT_NO_FATAL_FAILURE(ExpectDone({"failover", "run", "--yes"}));
  ExpectMachines(dr(), primary(), 2);
  Write(site_->site().Replica("pv-disk0"), "live at DR");

  ASSERT_NO_FATAL_FAILURE(ExpectDone({"reprotect", "--yes"}));
  EXPECT_THAT(Directions(), AllOf(SizeIs(3), Each(Pair(::testing::_, "to-primary"))));
  EXPECT_EQ(site_->CompareDisks(2), absl::OkStatus());

  // At DR a machine comes with a disk of its own, and a claim goes.
  ASSERT_EQ(site_->clusters().CreateAtDr("shop", "disk2"), absl::OkStatus());
  ASSERT_EQ(FailoverSite::MakeMachine(dr(), 2), absl::OkStatus());
  ASSERT_EQ(WaitForMachine(dr(), "vm2"), absl::OkStatus());
  ASSERT_TRUE(dr().Delete(fmt::format("{}/spare", kClaims)).ok());
  ASSERT_EQ(WaitFor("the claim to be gone", kPatience,
                    [&] { return absl::IsNotFound(dr().Get(fmt::format("{}/spare", kClaims)).status()); }),
            absl::OkStatus());
  ASSERT_EQ(WaitFor("its PersistentVolume to be released", kPatience,
                    [&] {
                      const auto volume = dr().Get(fmt::format("{}/pv-spare", kVolumes));
                      return volume.ok() && (*volume)["status"]["phase"] == "Released";
                    }),
            absl::OkStatus());
  const std::string live_objects = PictureOf(dr());

  // The scheduled sync brings to the primary what is new, and changes nothing at DR; nor does drctl serve, which reads
  // DR's whole catalog when it starts.
  std::map<std::string, std::string> outcomes = SyncOutcomes();
  EXPECT_THAT(outcomes, Contains(Pair("disk2", "synced to-primary")));
  EXPECT_THAT(outcomes, Contains(Pair("pv-disk2", "synced to-primary")));
  EXPECT_THAT(outcomes, Contains(Pair("disk0", "unchanged to-primary")));
  ASSERT_EQ(site_->site().StartServe(), absl::OkStatus());
  ASSERT_EQ(WaitForOk("drctl serve to have read the catalog", kPatience, [&] { return ServeIsReady(); }),
            absl::OkStatus());
  EXPECT_EQ(PictureOf(dr()), live_objects);
  EXPECT_EQ(UidOf(primary(), fmt::format("{}/disk0", kClaims)), first_disk);
  EXPECT_THAT(Directions(), AllOf(SizeIs(4), Each(Pair(::testing::_, "to-primary"))));
  outcomes = SyncOutcomes();
  EXPECT_THAT(outcomes, Contains(Pair("disk2", "unchanged to-primary")));

  Write(site_->site().Replica("pv-disk1"), "last at DR");
  Write(site_->site().Replica("pv-disk2"), "only ever at DR");
  ASSERT_EQ(site_->BackUpDr("at-dr"), absl::OkStatus());
  ASSERT_NO_FATAL_FAILURE(ExpectDone({"failback", "--yes"}));
  ExpectMachines(primary(), dr(), 3);
  EXPECT_EQ(site_->CompareDisks(3), absl::OkStatus());
  EXPECT_EQ(Read(site_->site().Volume("pv-disk0")), "live at DR");
  EXPECT_EQ(Read(site_->site().Volume("pv-disk1")), "last at DR");
  EXPECT_EQ(Read(site_->site().Volume("pv-disk2")), "only ever at DR");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Stops(site_->dr_kubevirt(), i), 1) << i;
    const std::string disk = fmt::format("disk{}", i);
    ExpectBound(primary(), disk, "nfs1", site_->site().Volume("pv-" + disk));
  }
  EXPECT_EQ(UidOf(primary(), fmt::format("{}/disk0", kClaims)), first_disk);

  // Until replication is turned round, nothing goes anywhere, which is no failure.
  outcomes = SyncOutcomes();
  EXPECT_THAT(outcomes, Each(Pair(::testing::_, "skipped to-dr")));
  EXPECT_THAT(outcomes, Contains(Pair("disk2", "skipped to-dr")));

  // Afterwards all goes its original way again.
  ASSERT_NO_FATAL_FAILURE(ExpectDone({"reprotect", "--yes"}));
  EXPECT_THAT(Directions(), AllOf(SizeIs(4), Each(Pair(::testing::_, "to-dr"))));
  const std::string made_at_dr = UidOf(dr(), fmt::format("{}/disk2", kClaims));
  ASSERT_EQ(site_->clusters().Create("shop", "disk3"), absl::OkStatus());
  ASSERT_EQ(FailoverSite::MakeMachine(primary(), 3), absl::OkStatus());
  ASSERT_EQ(WaitForMachine(primary(), "vm3"), absl::OkStatus());
  const std::string at_primary = PictureOf(primary());
  outcomes = SyncOutcomes();
  EXPECT_THAT(outcomes, Each(Pair(::testing::_, ::testing::EndsWith("to-dr"))));
  EXPECT_THAT(outcomes, Contains(Pair("disk2", "unchanged to-dr")));
  EXPECT_EQ(PictureOf(primary()), at_primary);
  EXPECT_EQ(UidOf(dr(), fmt::format("{}/disk2", kClaims)), made_at_dr);

  Write(site_->site().Volume("pv-disk2"), "last at the primary");
  ASSERT_EQ(site_->BackUp("after-the-failback"), absl::OkStatus());
  ASSERT_NO_FATAL_FAILURE(ExpectDone({"failover", "run", "--yes"}));
  ExpectMachines(dr(), primary(), 4);
  EXPECT_EQ(site_->CompareDisks(4), absl::OkStatus());
  EXPECT_EQ(Read(site_->site().Replica("pv-disk2")), "last at the primary");
  for (int i = 0; i < 4; ++i) {
    const std::string disk = fmt::format("disk{}", i);
    ExpectBound(dr(), disk, "nfs2", site_->site().Replica("pv-" + disk));
  }
}

}  // namespace
}  // namespace understudy::tests
