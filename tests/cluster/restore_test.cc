// Restores at a real API server, with a small controller in Velero's place.
#include "control/oadp/restore.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "control/vm/boot.h"
#include "tests/support/cluster.h"
#include "tests/support/kubevirt_player.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "tests/support/velero_player.h"
#include "tests/support/wait.h"

namespace understudy::control {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using tests::Cluster;
using tests::TempDir;
using tests::VeleroPlayer;

constexpr absl::Duration kPatience = absl::Minutes(2);  // no test that works waits for it
constexpr absl::Duration kShort = absl::Milliseconds(300);
constexpr char kAdp[] = "openshift-adp";

// A backup's archive in the making.
class Archive {
 public:
  // `resource` as Velero writes it: with its group.
  Archive& Add(const std::string& resource, const std::string& namespace_name, json object) {
    object["metadata"]["namespace"] = namespace_name;
    const std::string name = object["metadata"]["name"];
    for (const char* version : {"", "v1-preferredversion/"}) {
      const std::filesystem::path file =
          folder_.File(fmt::format("resources/{}/{}namespaces/{}/{}.json", resource, version, namespace_name, name));
      std::filesystem::create_directories(file.parent_path());
      std::ofstream(file) << object;
    }
    return *this;
  }
  [[nodiscard]] std::string Bytes() const {
    const auto packed = tests::RunProcess(
        {.program = "tar", .arguments = {"-czf", "/dev/stdout", "resources"}, .working_directory = folder_.Path()});
    EXPECT_TRUE(packed.ok() && packed->exit_code == 0) << packed->err;
    return packed->out;
  }

 private:
  TempDir folder_;
};

json ConfigMap(const std::string& name, const std::string& value) {
  return {{"apiVersion", "v1"},
          {"kind", "ConfigMap"},
          {"metadata", {{"name", name}, {"uid", "of-the-primary"}, {"resourceVersion", "12"}}},
          {"data", {{"key", value}}}};
}

json Machine(const std::string& name, const json& more = json::object()) {
  json spec = {{"runStrategy", "Always"},
               {"template",
                {{"spec",
                  {{"domain",
                    {{"firmware", {{"uuid", "123e4567-e89b-12d3-a456-426614174000"}}},
                     {"devices", {{"interfaces", {{{"name", "default"}, {"macAddress", "02:00:00:00:00:01"}}}}}}}}}}}}};
  spec.update(more);
  return {{"apiVersion", "kubevirt.io/v1"},
          {"kind", "VirtualMachine"},
          {"metadata", {{"name", name}, {"uid", "of-the-primary"}}},
          {"spec", spec},
          {"status", {{"printableStatus", "Running"}}}};
}

json Claim(const std::string& name) {
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolumeClaim"},
          {"metadata", {{"name", name}}},
          {"spec", {{"accessModes", {"ReadWriteMany"}}, {"resources", {{"requests", {{"storage", "1Gi"}}}}}}}};
}

class RestoreClusterTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto cluster = Cluster::Start("dr");
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
    auto velero = VeleroPlayer::Start(Access(), kAdp, [](const std::string& backup) -> absl::StatusOr<std::string> {
      const absl::MutexLock lock(&mutex_);
      const auto found = archives_.find(backup);
      if (found == archives_.end()) return absl::NotFoundError("error downloading the backup: no such key");
      return found->second;
    });
    ASSERT_TRUE(velero.ok()) << velero.status();
    velero_ = *std::move(velero);
  }
  static void TearDownTestSuite() {
    if (velero_ != nullptr) {
      EXPECT_EQ(velero_->Health(), absl::OkStatus());
    }
    velero_.reset();
    cluster_.reset();
  }
  static kube::ClusterAccess Access() {
    const auto access = kube::LoadKubeconfig(cluster_->Kubeconfig(), "");
    EXPECT_TRUE(access.ok()) << access.status();
    return access.ok() ? *access : kube::ClusterAccess();
  }

  void SetUp() override {
    ASSERT_NE(velero_, nullptr);
    name_ = fmt::format("test-{}", ++tests_);
    client_ = std::make_unique<kube::Client>(Access());
    restores_ = std::make_unique<VeleroRestores>(
        *client_, VeleroOptions{.namespace_name = kAdp, .poll_interval = absl::Milliseconds(50)});
  }

  // A backup that is in the storage location, and whose Backup object is there.
  void Put(const Archive& archive) {
    Store(archive);
    ASSERT_EQ(velero_->SyncBackup(name_), absl::OkStatus());
  }
  void Store(const Archive& archive) {
    const absl::MutexLock lock(&mutex_);
    archives_[name_] = archive.Bytes();
  }
  // Of the namespace that is named like the test.
  [[nodiscard]] RestoreSpec Spec() const {
    RestoreSpec spec;
    spec.name = name_;
    spec.backup_name = name_;
    spec.included_namespaces = {name_};
    return spec;
  }
  RestoreResult Run(const RestoreSpec& spec) {
    EXPECT_EQ(restores_->WaitForBackup(spec.backup_name, kPatience, {}), absl::OkStatus());
    EXPECT_EQ(restores_->Create(spec), absl::OkStatus());
    const auto result = restores_->WaitForEnd(spec.name, kPatience, {}, nullptr);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : RestoreResult();
  }
  static absl::StatusOr<json> ConfigMapAt(const std::string& namespace_name, const std::string& name) {
    return cluster_->Get(fmt::format("/api/v1/namespaces/{}/configmaps/{}", namespace_name, name));
  }
  static absl::StatusOr<json> MachineAt(const std::string& namespace_name, const std::string& name) {
    return cluster_->Get(fmt::format("/apis/kubevirt.io/v1/namespaces/{}/virtualmachines/{}", namespace_name, name));
  }

  static std::unique_ptr<Cluster> cluster_;
  static std::unique_ptr<VeleroPlayer> velero_;
  static absl::Mutex mutex_;
  static std::map<std::string, std::string> archives_ ABSL_GUARDED_BY(mutex_);
  static int tests_;
  std::string name_;
  std::unique_ptr<kube::Client> client_;
  std::unique_ptr<VeleroRestores> restores_;
};
std::unique_ptr<Cluster> RestoreClusterTest::cluster_;
std::unique_ptr<VeleroPlayer> RestoreClusterTest::velero_;
absl::Mutex RestoreClusterTest::mutex_;
std::map<std::string, std::string> RestoreClusterTest::archives_;
int RestoreClusterTest::tests_ = 0;

TEST_F(RestoreClusterTest, MachinesComeHaltedAndStorageDoesntCome) {
  Archive archive;
  archive.Add("virtualmachines.kubevirt.io", name_, Machine("db"))
      .Add("configmaps", name_, ConfigMap("settings", "a"))
      .Add("persistentvolumeclaims", name_, Claim("data"))
      .Add("virtualmachineinstances.kubevirt.io", name_, Machine("db"))
      .Add("configmaps", name_ + "-other", ConfigMap("settings", "a"));
  Put(archive);
  const RestoreResult result = Run(Spec());
  EXPECT_TRUE(result.Completed()) << Describe(result);
  EXPECT_EQ(result.items_restored, 2);
  EXPECT_EQ(result.total_items, 2);
  EXPECT_LE(result.started_at, result.completed_at);
  const auto machine = MachineAt(name_, "db");
  ASSERT_TRUE(machine.ok()) << machine.status();
  EXPECT_EQ(machine->at("spec").at("runStrategy"), "Halted");
  const json& domain = machine->at("spec").at("template").at("spec").at("domain");
  EXPECT_EQ(domain.at("devices").at("interfaces").at(0).at("macAddress"), "02:00:00:00:00:01");
  EXPECT_EQ(domain.at("firmware").at("uuid"), "123e4567-e89b-12d3-a456-426614174000");
  EXPECT_TRUE(ConfigMapAt(name_, "settings").ok());
  EXPECT_TRUE(absl::IsNotFound(ConfigMapAt(name_ + "-other", "settings").status()));
  EXPECT_TRUE(absl::IsNotFound(
      cluster_->Get(fmt::format("/api/v1/namespaces/{}/persistentvolumeclaims/data", name_)).status()));
}

TEST_F(RestoreClusterTest, ATestRestoreGoesToAnotherNamespaceWithOtherIdentities) {
  Archive archive;
  archive.Add("virtualmachines.kubevirt.io", name_, Machine("db")).Add("secrets", name_, [] {
    json secret = ConfigMap("token", "YQ==");
    secret["kind"] = "Secret";
    return secret;
  }());
  Put(archive);
  RestoreSpec spec = Spec();
  spec.namespace_mapping = {{name_, name_ + "-copy"}};
  spec.clear_mac_address = true;
  spec.new_firmware_uuid = true;
  const RestoreResult result = Run(spec);
  EXPECT_TRUE(result.Completed()) << Describe(result);
  EXPECT_TRUE(absl::IsNotFound(MachineAt(name_, "db").status()));
  const auto machine = MachineAt(name_ + "-copy", "db");
  ASSERT_TRUE(machine.ok()) << machine.status();
  EXPECT_EQ(machine->at("spec").at("runStrategy"), "Halted");
  const json& domain = machine->at("spec").at("template").at("spec").at("domain");
  EXPECT_FALSE(domain.at("devices").at("interfaces").at(0).contains("macAddress"));
  EXPECT_NE(domain.at("firmware").at("uuid"), "123e4567-e89b-12d3-a456-426614174000");
  EXPECT_TRUE(cluster_->Get(fmt::format("/api/v1/namespaces/{}-copy/secrets/token", name_)).ok());
}

TEST_F(RestoreClusterTest, WhatIsThereAlreadyStaysAndIsAWarningOrIsUpdated) {
  Archive archive;
  archive.Add("configmaps", name_, ConfigMap("settings", "of the backup"));
  Put(archive);
  ASSERT_TRUE(cluster_->Post("/api/v1/namespaces", {{"metadata", {{"name", name_}}}}).ok());
  ASSERT_TRUE(cluster_
                  ->Post(fmt::format("/api/v1/namespaces/{}/configmaps", name_),
                         {{"metadata", {{"name", "settings"}}}, {"data", {{"key", "of DR"}}}})
                  .ok());
  const RestoreResult kept = Run(Spec());
  EXPECT_TRUE(kept.Completed()) << Describe(kept);
  EXPECT_EQ(kept.warnings, 1);
  EXPECT_EQ(ConfigMapAt(name_, "settings")->at("data").at("key"), "of DR");
  RestoreSpec update = Spec();
  update.name += "-update";
  update.existing_resources = ExistingResources::kUpdate;
  const RestoreResult updated = Run(update);
  EXPECT_TRUE(updated.Completed()) << Describe(updated);
  EXPECT_EQ(updated.warnings, 0);
  EXPECT_EQ(ConfigMapAt(name_, "settings")->at("data").at("key"), "of the backup");
}

TEST_F(RestoreClusterTest, WhatTheClusterRefusesIsAPartialFailure) {
  Archive archive;
  archive.Add("configmaps", name_, ConfigMap("good", "a"))
      .Add("widgets.example.com", name_,
           {{"apiVersion", "example.com/v1"}, {"kind", "Widget"}, {"metadata", {{"name", "w"}}}});
  Put(archive);
  const RestoreResult result = Run(Spec());
  EXPECT_EQ(result.phase, "PartiallyFailed");
  EXPECT_EQ(result.errors, 1);
  EXPECT_TRUE(ConfigMapAt(name_, "good").ok());
  EXPECT_THAT(Describe(result), HasSubstr("1 errors"));
}

TEST_F(RestoreClusterTest, AnArchiveThatCantBeGotIsAFailureWithItsReason) {
  ASSERT_EQ(velero_->SyncBackup(name_), absl::OkStatus());
  const RestoreResult result = Run(Spec());
  EXPECT_EQ(result.phase, "Failed");
  EXPECT_THAT(Describe(result), HasSubstr("error downloading the backup"));
}

TEST_F(RestoreClusterTest, ARestoreOfABackupThatIsntThereFailsValidation) {
  ASSERT_EQ(restores_->Create(Spec()), absl::OkStatus());
  const auto result = restores_->WaitForEnd(name_, kPatience, {}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->phase, "FailedValidation");
  EXPECT_THAT(Describe(*result), HasSubstr(fmt::format("\"{}\" not found", name_)));
}

TEST_F(RestoreClusterTest, ABackupThatNeverComesIsToldWithTheStorageLocation) {
  const absl::Status status = restores_->WaitForBackup(name_, kShort, {});
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("no Backup " + name_));
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("default is Available, last synced"));
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("oc -n openshift-adp get backupstoragelocations"));
  VeleroRestores elsewhere(*client_, {.namespace_name = "velero", .poll_interval = absl::Milliseconds(50)});
  const absl::Status nowhere = elsewhere.WaitForBackup(name_, kShort, {});
  EXPECT_THAT(std::string(MessageOf(nowhere)), HasSubstr("no BackupStorageLocation in namespace velero"));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(restores_->WaitForBackup(name_, kPatience, stop.get_token())));
}

TEST_F(RestoreClusterTest, ABackupThatComesLaterIsWaitedFor) {
  const std::jthread later([&] { EXPECT_EQ(velero_->SyncBackup(name_), absl::OkStatus()); });
  EXPECT_EQ(restores_->WaitForBackup(name_, kPatience, {}), absl::OkStatus());
}

TEST_F(RestoreClusterTest, ABackupThatFailedIsRefusedAtOnce) {
  ASSERT_EQ(velero_->SyncBackup(name_, "Failed"), absl::OkStatus());
  EXPECT_TRUE(tests::WaitFor("the phase", kPatience, [&] {
                return absl::IsFailedPrecondition(restores_->WaitForBackup(name_, kShort, {}));
              }).ok());
  ASSERT_EQ(velero_->SyncBackup(name_ + "-part", "PartiallyFailed"), absl::OkStatus());
  EXPECT_EQ(restores_->WaitForBackup(name_ + "-part", kPatience, {}), absl::OkStatus());
}

TEST_F(RestoreClusterTest, CreatingTheSameRestoreAgainIsFineAndAnotherOneIsnt) {
  Put(Archive().Add("configmaps", name_, ConfigMap("settings", "a")));
  EXPECT_TRUE(Run(Spec()).Completed());
  EXPECT_EQ(restores_->Create(Spec()), absl::OkStatus());
  RestoreSpec other = Spec();
  other.included_namespaces.push_back("bank");
  const absl::Status refused = restores_->Create(other);
  EXPECT_TRUE(absl::IsAlreadyExists(refused)) << refused;
  EXPECT_THAT(std::string(MessageOf(refused)), HasSubstr("something else"));
  other.included_namespaces.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(restores_->Create(other)));
  other = Spec();
  other.name = "Not A Name";
  EXPECT_TRUE(absl::IsInvalidArgument(restores_->Create(other)));
}

TEST_F(RestoreClusterTest, OnlyOurOwnRestoresAreDeleted) {
  Put(Archive().Add("configmaps", name_, ConfigMap("settings", "a")));
  EXPECT_TRUE(Run(Spec()).Completed());
  EXPECT_EQ(restores_->Delete(name_), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(restores_->Get(name_).status()));
  EXPECT_EQ(restores_->Delete(name_), absl::OkStatus());
  EXPECT_TRUE(ConfigMapAt(name_, "settings").ok());
  const std::string path = fmt::format("/apis/velero.io/v1/namespaces/{}/restores", kAdp);
  ASSERT_TRUE(cluster_
                  ->Post(path, {{"apiVersion", "velero.io/v1"},
                                {"kind", "Restore"},
                                {"metadata", {{"name", name_}}},
                                {"spec", {{"backupName", name_}}}})
                  .ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(restores_->Delete(name_)));
  const absl::Status refused = restores_->Create(Spec());
  EXPECT_TRUE(absl::IsAlreadyExists(refused)) << refused;
  EXPECT_THAT(std::string(MessageOf(refused)), HasSubstr("isn't Understudy's"));
  EXPECT_TRUE(cluster_->Get(path + "/" + name_).ok());
}

TEST_F(RestoreClusterTest, ARestoreThatTakesLongIsWaitedForAgainAndItsProgressIsTold) {
  Archive archive;
  for (int i = 0; i < 5; ++i) archive.Add("configmaps", name_, ConfigMap(fmt::format("c{}", i), "a"));
  Put(archive);
  velero_->Hold(true);
  ASSERT_EQ(restores_->Create(Spec()), absl::OkStatus());
  const auto waited = restores_->WaitForEnd(name_, kShort, {}, nullptr);
  EXPECT_TRUE(absl::IsDeadlineExceeded(waited.status())) << waited.status();
  EXPECT_THAT(std::string(MessageOf(waited.status())), HasSubstr("not looked at by Velero yet"));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(restores_->WaitForEnd(name_, kPatience, stop.get_token(), nullptr).status()));
  velero_->Hold(false);
  std::vector<RestoreResult> told;
  const auto ended =
      restores_->WaitForEnd(name_, kPatience, {}, [&](const RestoreResult& result) { told.push_back(result); });
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_TRUE(ended->Completed());
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.back(), *ended);
  for (size_t i = 1; i < told.size(); ++i) EXPECT_FALSE(told[i] == told[i - 1]);
}

TEST_F(RestoreClusterTest, RestoredMachinesAreBootedWithTheBackupsStrategies) {
  auto kubevirt = tests::KubeVirtPlayer::Start(Access());
  ASSERT_TRUE(kubevirt.ok()) << kubevirt.status();
  Archive archive;
  archive.Add("virtualmachines.kubevirt.io", name_, Machine("db", {{"runStrategy", "RerunOnFailure"}}))
      .Add("virtualmachines.kubevirt.io", name_, Machine("off", {{"runStrategy", "Halted"}}));
  json by_field = Machine("web");
  by_field["spec"].erase("runStrategy");
  by_field["spec"]["running"] = true;
  Put(archive.Add("virtualmachines.kubevirt.io", name_, by_field));
  EXPECT_TRUE(Run(Spec()).Completed());
  KubeVirtMachines machines(*client_);
  const auto restored = machines.List(name_, {});
  ASSERT_TRUE(restored.ok()) << restored.status();
  for (const VmStatus& status : *restored) EXPECT_EQ(status.run_strategy, "Halted") << status.key.name;
  BootOrder order;
  order.groups = {{.vms = {"*/db"}}};
  const auto boots = Boot(machines,
                          {{.key = {name_, "web"}, .run_strategy = "Always"},
                           {.key = {name_, "off"}, .run_strategy = "Halted"},
                           {.key = {name_, "db"}, .run_strategy = "RerunOnFailure"}},
                          order, {}, nullptr, {.poll_interval = absl::Milliseconds(50)});
  ASSERT_TRUE(boots.ok()) << boots.status();
  EXPECT_EQ(boots->at(0).outcome, BootOutcome::kWell) << boots->at(0).reason;
  EXPECT_EQ(boots->at(1).outcome, BootOutcome::kLeftStopped);
  EXPECT_EQ(boots->at(2).outcome, BootOutcome::kWell) << boots->at(2).reason;
  EXPECT_EQ(MachineAt(name_, "db")->at("spec").at("runStrategy"), "RerunOnFailure");
  EXPECT_EQ((*kubevirt)->Health(), absl::OkStatus());
}

}  // namespace
}  // namespace understudy::control
