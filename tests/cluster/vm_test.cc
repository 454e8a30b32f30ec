// Virtual machines at a real API server, with a small controller in KubeVirt's place: stopping by subresource and by
// patch, starting as before, boot order, and what is told of machines that don't get well.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "control/vm/boot.h"
#include "control/vm/probe.h"
#include "control/vm/virtual_machines.h"
#include "tests/support/cluster.h"
#include "tests/support/kubevirt_player.h"
#include "tests/support/wait.h"

namespace understudy::control {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using tests::Cluster;
using tests::KubeVirtPlayer;

constexpr absl::Duration kPatience = absl::Minutes(2);  // no test that works waits for it
const VmWaitOptions kQuick{.poll_interval = absl::Milliseconds(50), .bad_after = absl::Milliseconds(300)};

kube::ClusterAccess AccessTo(const Cluster& cluster) {
  const auto access = kube::LoadKubeconfig(cluster.Kubeconfig(), "");
  EXPECT_TRUE(access.ok()) << access.status();
  return access.ok() ? *access : kube::ClusterAccess();
}

// One cluster for the suite, whose player does or doesn't serve the subresources; a namespace for each test.
class VmClusterTest : public testing::Test {
 protected:
  static void StartAll(bool serve_subresources) {
    auto cluster = Cluster::Start("vm");
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
    auto player = KubeVirtPlayer::Start(AccessTo(*cluster_), {.serve_subresources = serve_subresources});
    ASSERT_TRUE(player.ok()) << player.status();
    player_ = *std::move(player);
  }
  static void SetUpTestSuite() { StartAll(/*serve_subresources=*/true); }
  static void TearDownTestSuite() {
    if (player_ != nullptr) {
      EXPECT_EQ(player_->Health(), absl::OkStatus());
    }
    player_.reset();
    cluster_.reset();
  }

  void SetUp() override {
    ASSERT_NE(player_, nullptr);
    client_ = std::make_unique<kube::Client>(AccessTo(*cluster_));
    machines_ = std::make_unique<KubeVirtMachines>(*client_);
    namespace_ = fmt::format("test-{}", ++namespaces_);
    ASSERT_TRUE(cluster_->Post("/api/v1/namespaces", {{"metadata", {{"name", namespace_}}}}).ok());
  }

  [[nodiscard]] VmKey Key(const std::string& name) const { return {namespace_, name}; }
  [[nodiscard]] std::string Path(const std::string& plural, const std::string& name = "") const {
    const std::string path = fmt::format("/apis/kubevirt.io/v1/namespaces/{}/{}", namespace_, plural);
    return name.empty() ? path : fmt::format("{}/{}", path, name);
  }
  void Make(const std::string& name, const json& spec, const json& annotations = json::object()) {
    const json machine = {{"apiVersion", "kubevirt.io/v1"},
                          {"kind", "VirtualMachine"},
                          {"metadata", {{"name", name}, {"annotations", annotations}}},
                          {"spec", spec}};
    const auto made = cluster_->Post(Path("virtualmachines"), machine);
    ASSERT_TRUE(made.ok()) << made.status();
  }
  static json Strategy(const std::string& strategy, const std::string& claim = "") {
    json spec = {{"runStrategy", strategy}};
    if (claim.empty()) return spec;
    spec["template"] = {
        {"spec", {{"volumes", {{{"name", "disk"}, {"persistentVolumeClaim", {{"claimName", claim}}}}}}}}};
    return spec;
  }
  void MakeClaim(const std::string& name) {
    const std::string volume = fmt::format("{}-{}", namespace_, name);
    ASSERT_TRUE(
        cluster_
            ->Post("/api/v1/persistentvolumes", {{"metadata", {{"name", volume}}},
                                                 {"spec",
                                                  {{"capacity", {{"storage", "1Gi"}}},
                                                   {"accessModes", {"ReadWriteMany"}},
                                                   {"storageClassName", "nfs"},
                                                   {"claimRef", {{"namespace", namespace_}, {"name", name}}},
                                                   {"nfs", {{"server", "nfs2"}, {"path", "/export/" + volume}}}}}})
            .ok());
    ASSERT_TRUE(cluster_
                    ->Post(fmt::format("/api/v1/namespaces/{}/persistentvolumeclaims", namespace_),
                           {{"metadata", {{"name", name}}},
                            {"spec",
                             {{"accessModes", {"ReadWriteMany"}},
                              {"resources", {{"requests", {{"storage", "1Gi"}}}}},
                              {"storageClassName", "nfs"},
                              {"volumeName", volume}}}})
                    .ok());
  }
  void WaitWell(const std::string& name) { WaitState(name, Wellbeing::kWell); }
  void WaitState(const std::string& name, Wellbeing wanted) {
    ASSERT_EQ(tests::WaitForOk(fmt::format("{} to be {}", name, ToString(wanted)), kPatience,
                               [&]() -> absl::Status {
                                 ASSIGN_OR_RETURN(const VmStatus status, machines_->Get(Key(name)));
                                 const VmVerdict verdict = Judge(status, {});
                                 if (verdict.state == wanted) return absl::OkStatus();
                                 return absl::UnavailableError(verdict.reason);
                               }),
              absl::OkStatus());
  }
  absl::Status WaitAllStopped(const std::vector<VmKey>& keys, absl::Duration timeout = kPatience) {
    return WaitStopped(*machines_, keys, timeout, {}, nullptr, kQuick);
  }
  json SpecOf(const std::string& name) {
    const auto machine = cluster_->Get(Path("virtualmachines", name));
    EXPECT_TRUE(machine.ok()) << machine.status();
    json spec = machine.ok() ? machine->at("spec") : json();
    spec.erase("template");
    return spec;
  }
  StopRecord Stop(const std::string& name) {
    const auto record = machines_->Stop(Key(name));
    EXPECT_TRUE(record.ok()) << record.status();
    return record.ok() ? *record : StopRecord();
  }

  static std::unique_ptr<Cluster> cluster_;
  static std::unique_ptr<KubeVirtPlayer> player_;
  static int namespaces_;
  std::unique_ptr<kube::Client> client_;
  std::unique_ptr<KubeVirtMachines> machines_;
  std::string namespace_;
};
std::unique_ptr<Cluster> VmClusterTest::cluster_;
std::unique_ptr<KubeVirtPlayer> VmClusterTest::player_;
int VmClusterTest::namespaces_ = 0;

TEST_F(VmClusterTest, AMachineIsStoppedOnceAndStartedAsItWas) {
  Make("db", Strategy("Always"));
  WaitWell("db");
  const StopRecord record = Stop("db");
  EXPECT_EQ(record.via, StopRecord::Via::kSubresource);
  EXPECT_EQ(record.previous_run_strategy, "Always");
  EXPECT_TRUE(record.was_running);
  EXPECT_EQ(WaitAllStopped({Key("db")}), absl::OkStatus());
  EXPECT_EQ(SpecOf("db"), Strategy("Halted"));

  EXPECT_EQ(Stop("db").via, StopRecord::Via::kNothing);
  EXPECT_EQ(player_->Calls("stop", Key("db")), 1);

  EXPECT_EQ(machines_->Start(Key("db"), record.previous_run_strategy), absl::OkStatus());
  EXPECT_EQ(machines_->Start(Key("db"), record.previous_run_strategy), absl::OkStatus());
  WaitWell("db");
  EXPECT_EQ(SpecOf("db"), Strategy("Always"));
}

TEST_F(VmClusterTest, AMachineWithARunningFieldKeepsThatField) {
  Make("db", {{"running", true}});
  WaitWell("db");
  const StopRecord record = Stop("db");
  EXPECT_EQ(record.previous_run_strategy, "Always");
  EXPECT_EQ(WaitAllStopped({Key("db")}), absl::OkStatus());
  EXPECT_EQ(SpecOf("db"), json({{"running", false}}));
  EXPECT_EQ(machines_->Start(Key("db"), record.previous_run_strategy), absl::OkStatus());
  WaitWell("db");
  EXPECT_EQ(SpecOf("db"), json({{"running", true}}));
}

TEST_F(VmClusterTest, MachinesThatAreStoppedByRequestKeepTheirStrategy) {
  for (const char* strategy : {"Manual", "RerunOnFailure"}) {
    const std::string name = strategy == std::string("Manual") ? "manual" : "rerun";
    Make(name, Strategy(strategy));
    ASSERT_EQ(machines_->Start(Key(name), strategy), absl::OkStatus());
    WaitWell(name);
    const StopRecord record = Stop(name);
    EXPECT_EQ(record.via, StopRecord::Via::kSubresource);
    EXPECT_EQ(record.previous_run_strategy, strategy);
    EXPECT_EQ(WaitAllStopped({Key(name)}), absl::OkStatus());
    EXPECT_EQ(SpecOf(name), Strategy(strategy));
    EXPECT_EQ(machines_->Start(Key(name), strategy), absl::OkStatus());
    WaitWell(name);
  }
}

TEST_F(VmClusterTest, WhatARestoreLeftHaltedIsStartedWithTheBackupsStrategy) {
  for (const char* strategy : {"Always", "RerunOnFailure", "Manual"}) {
    const std::string name = fmt::format("vm-{}", strategy[0] == 'A' ? "a" : strategy[0] == 'R' ? "r" : "m");
    Make(name, Strategy("Halted"));
    WaitState(name, Wellbeing::kStopped);
    EXPECT_EQ(machines_->Start(Key(name), strategy), absl::OkStatus());
    WaitWell(name);
    EXPECT_EQ(SpecOf(name), Strategy(strategy));
  }
  Make("halted", Strategy("Halted"));
  EXPECT_EQ(machines_->Start(Key("halted"), "Halted"), absl::OkStatus());
  EXPECT_EQ(SpecOf("halted"), Strategy("Halted"));
  EXPECT_EQ(machines_->Start(Key("halted"), ""), absl::OkStatus());
  WaitWell("halted");
  EXPECT_TRUE(absl::IsInvalidArgument(machines_->Start(Key("halted"), "Sometimes")));
}

TEST_F(VmClusterTest, AMachineWithoutAnInstanceIsKeptDown) {
  Make("waits", Strategy("Always", "missing"));
  Make("reruns", Strategy("RerunOnFailure", "missing"));
  WaitState("waits", Wellbeing::kBad);
  WaitState("reruns", Wellbeing::kBad);
  // KubeVirt's stop refuses the second (409): it isn't running.
  EXPECT_EQ(Stop("waits").via, StopRecord::Via::kSubresource);
  const StopRecord record = Stop("reruns");
  EXPECT_EQ(record.via, StopRecord::Via::kPatch);
  EXPECT_EQ(record.previous_run_strategy, "RerunOnFailure");
  EXPECT_EQ(player_->Calls("stop", Key("reruns")), 1);
  EXPECT_EQ(WaitAllStopped({Key("waits"), Key("reruns")}), absl::OkStatus());
  MakeClaim("missing");
  EXPECT_EQ(WaitAllStopped({Key("waits"), Key("reruns")}), absl::OkStatus());
}

TEST_F(VmClusterTest, AShutdownThatHangsIsNamedAndNotAskedForAgain) {
  Make("db", Strategy("Always"), {{tests::kHangsAnnotation, "true"}});
  Make("web", Strategy("Always"));
  WaitWell("db");
  WaitWell("web");
  Stop("db");
  Stop("web");
  const absl::Status status = WaitAllStopped({Key("db"), Key("web")}, absl::Seconds(2));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr(ToString(Key("db")) + ": its instance is being shut down"));
  EXPECT_EQ(std::string(MessageOf(status)).find(ToString(Key("web"))), std::string::npos) << status;
  EXPECT_EQ(Stop("db").via, StopRecord::Via::kNothing);
  EXPECT_EQ(player_->Calls("stop", Key("db")), 1);
}

TEST_F(VmClusterTest, AMachineThatIsntThereIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(machines_->Get(Key("nobody")).status()));
  EXPECT_TRUE(absl::IsNotFound(machines_->Stop(Key("nobody")).status()));
  EXPECT_TRUE(absl::IsNotFound(machines_->Start(Key("nobody"), "Always")));
  EXPECT_TRUE(absl::IsNotFound(machines_->GuestInfo(Key("nobody")).status()));
}

TEST_F(VmClusterTest, AnInstanceThatNoMachineStandsForIsToldOfUntilItEnds) {
  Make("db", Strategy("Always"));
  WaitWell("db");
  const auto put_phase = [&](const char* phase) {
    auto stray = cluster_->Get(Path("virtualmachineinstances", "stray"));
    ASSERT_TRUE(stray.ok()) << stray.status();
    (*stray)["status"] = {{"phase", phase}};
    ASSERT_EQ(client_->Put(kube::kVirtualMachineInstances, namespace_, "stray", "status", *stray), absl::OkStatus());
  };
  ASSERT_TRUE(cluster_
                  ->Post(Path("virtualmachineinstances"), {{"apiVersion", "kubevirt.io/v1"},
                                                           {"kind", "VirtualMachineInstance"},
                                                           {"metadata", {{"name", "stray"}}},
                                                           {"spec", json::object()}})
                  .ok());
  put_phase("Running");
  EXPECT_EQ(*machines_->ListStrays(namespace_, {}), std::vector<VmKey>{Key("stray")});
  put_phase("Succeeded");
  EXPECT_EQ(*machines_->ListStrays(namespace_, {}), std::vector<VmKey>{});
}

TEST_F(VmClusterTest, MachinesComeUpInOrder) {
  for (const char* name : {"web-1", "web-2", "db-1", "batch"}) {
    MakeClaim(name);
    Make(name, Strategy("Halted", name));
  }
  std::vector<BootVm> vms;
  for (const char* name : {"web-1", "web-2", "db-1", "batch"})
    vms.push_back({.key = Key(name), .run_strategy = "Always"});
  BootOrder order;
  order.groups = {{.vms = {namespace_ + "/db-*"}}, {.vms = {"*/web-?"}}};
  std::vector<std::string> well;
  const auto boots = Boot(
      *machines_, vms, order, {},
      [&](const VmStatus& status, const VmVerdict& verdict) {
        if (verdict.state == Wellbeing::kWell) well.push_back(status.key.name);
      },
      kQuick);
  ASSERT_TRUE(boots.ok()) << boots.status();
  ASSERT_THAT(well, SizeIs(4));
  EXPECT_EQ(well.front(), "db-1");
  EXPECT_EQ(well.back(), "batch");
  for (const VmBoot& boot : *boots) EXPECT_EQ(boot.outcome, BootOutcome::kWell) << boot.reason;
}

TEST_F(VmClusterTest, OneBrokenOfTenDoesntHoldTheOthersUp) {
  std::vector<BootVm> vms;
  for (int i = 0; i < 10; ++i) {
    const std::string name = fmt::format("vm-{}", i);
    json annotations = json::object();
    if (i == 3) annotations[tests::kBrokenAnnotation] = "CrashLoopBackOff";
    Make(name, Strategy("Halted"), annotations);
    vms.push_back({.key = Key(name), .run_strategy = "Always"});
  }
  const auto boots = Boot(*machines_, vms, {}, {}, nullptr, kQuick);
  ASSERT_TRUE(boots.ok()) << boots.status();
  for (const VmBoot& boot : *boots) {
    const bool broken = boot.key.name == "vm-3";
    EXPECT_EQ(boot.outcome, broken ? BootOutcome::kBad : BootOutcome::kWell) << boot.key.name << ": " << boot.reason;
    EXPECT_EQ(boot.reason.find("CrashLoopBackOff") != std::string::npos, broken) << boot.reason;
  }
  const auto all = machines_->List(namespace_, {});
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_THAT(*all, SizeIs(10));
}

TEST_F(VmClusterTest, ABootMayBeRepeatedWhenWhatWasMissingIsThere) {
  Make("db", Strategy("Halted", "data"));
  const std::vector<BootVm> vms = {{.key = Key("db"), .run_strategy = "Always"}};
  const auto first = Boot(*machines_, vms, {}, {}, nullptr, kQuick);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->at(0).outcome, BootOutcome::kBad);
  EXPECT_THAT(first->at(0).reason, HasSubstr("ErrorPvcNotFound"));
  MakeClaim("data");
  const auto second =
      Boot(*machines_, vms, {}, {}, nullptr, {.poll_interval = absl::Milliseconds(50), .bad_after = kPatience});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->at(0).outcome, BootOutcome::kWell) << second->at(0).reason;
}

TEST_F(VmClusterTest, ProbesLookInsideByTheInstancesAddressAndItsAgent) {
  const int api_port = std::stoi(cluster_->Url().substr(cluster_->Url().rfind(':') + 1));
  Make("db", Strategy("Always"), {{tests::kAddressAnnotation, "127.0.0.1"}, {tests::kAgentAnnotation, "true"}});
  WaitWell("db");
  const std::vector<Probe> probes = {
      {.vms = {"*/db"}, .what = TcpProbe{.port = static_cast<uint16_t>(api_port), .host = ""}},
      {.vms = {"*/db"},
       .what = HttpProbe{.url = fmt::format("https://{{ip}}:{}/readyz", api_port),
                         .status = 200,
                         .body = "ok",
                         .ca = cluster_->CaFile()}},
      {.vms = {"*/db"}, .what = GuestAgentProbe{}}};
  const auto results = RunProbes(*machines_, {Key("db")}, probes, 3, {});
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_THAT(*results, SizeIs(3));
  for (const ProbeResult& result : *results) EXPECT_TRUE(result.passed) << result.kind << ": " << result.text;
  EXPECT_THAT(results->at(2).text, HasSubstr("Debian GNU/Linux 12 (bookworm) on db"));
}

// A cluster that doesn't serve KubeVirt's subresources.
class VmPatchClusterTest : public VmClusterTest {
 protected:
  static void SetUpTestSuite() { StartAll(/*serve_subresources=*/false); }

  // Requests other than reads that were made for the machine by us: "verb URI".
  std::vector<std::string> Writes(const std::string& name) {
    std::vector<std::string> writes;
    std::ifstream log(cluster_->AuditLog());
    for (std::string line; std::getline(log, line);) {
      const json entry = json::parse(line, nullptr, /*allow_exceptions=*/false);
      const std::string uri = entry.is_object() ? entry.value("requestURI", "") : "";
      const std::string verb = entry.is_object() ? entry.value("verb", "") : "";
      const bool ours =
          uri.find(Path("virtualmachines", name)) != std::string::npos && uri.find("/status") == std::string::npos;
      if (ours && verb != "get" && verb != "list") writes.push_back(verb + " " + entry["requestObject"]["spec"].dump());
    }
    return writes;
  }
};

TEST_F(VmPatchClusterTest, TheFieldThatIsThereIsPatchedAndNothingElse) {
  Make("new", Strategy("Always"));
  Make("old", {{"running", true}});
  WaitWell("new");
  WaitWell("old");
  const StopRecord record = Stop("new");
  EXPECT_EQ(record.via, StopRecord::Via::kPatch);
  EXPECT_EQ(record.previous_run_strategy, "Always");
  EXPECT_EQ(Stop("old").via, StopRecord::Via::kPatch);
  EXPECT_EQ(WaitAllStopped({Key("new"), Key("old")}), absl::OkStatus());
  EXPECT_EQ(SpecOf("new"), Strategy("Halted"));
  EXPECT_EQ(SpecOf("old"), json({{"running", false}}));
  EXPECT_THAT(Writes("new"), ElementsAre("patch {\"runStrategy\":\"Halted\"}"));
  EXPECT_THAT(Writes("old"), ElementsAre("patch {\"running\":false}"));

  EXPECT_EQ(machines_->Start(Key("new"), "Always"), absl::OkStatus());
  EXPECT_EQ(machines_->Start(Key("old"), ""), absl::OkStatus());
  WaitWell("new");
  WaitWell("old");
  EXPECT_EQ(SpecOf("old"), json({{"running", true}}));
}

TEST_F(VmPatchClusterTest, AManualMachineIsHaltedAndItsStartSaysWhatIsMissing) {
  Make("manual", Strategy("RerunOnFailure"));
  WaitWell("manual");
  ASSERT_TRUE(cluster_->MergePatch(Path("virtualmachines", "manual"), {{"spec", Strategy("Manual")}}).ok());
  const StopRecord record = Stop("manual");
  EXPECT_EQ(record.previous_run_strategy, "Manual");
  EXPECT_EQ(record.via, StopRecord::Via::kPatch);
  EXPECT_EQ(WaitAllStopped({Key("manual")}), absl::OkStatus());
  const absl::Status started = machines_->Start(Key("manual"), record.previous_run_strategy);
  EXPECT_TRUE(absl::IsFailedPrecondition(started)) << started;
  EXPECT_THAT(std::string(MessageOf(started)), HasSubstr("subresources.kubevirt.io"));
}

TEST_F(VmPatchClusterTest, WhatRunsInsideCantBeAsked) {
  Make("db", Strategy("Always"));
  WaitWell("db");
  EXPECT_TRUE(absl::IsUnimplemented(machines_->GuestInfo(Key("db")).status()));
}

}  // namespace
}  // namespace understudy::control
