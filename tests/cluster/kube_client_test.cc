// The Kubernetes client and the list-and-watch against a real API server.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "core/kube/client.h"
#include "core/kube/list_watch.h"
#include "tests/support/cluster.h"
#include "tests/support/wait.h"

namespace understudy::kube {
namespace {

using nlohmann::json;
using tests::Cluster;
using tests::WaitFor;

json Volume(const std::string& name, const std::string& path = "/export/data") {
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolume"},
          {"metadata", {{"name", name}}},
          {"spec",
           {{"capacity", {{"storage", "1Gi"}}},
            {"accessModes", {"ReadWriteMany"}},
            {"persistentVolumeReclaimPolicy", "Retain"},
            {"storageClassName", "nfs"},
            {"nfs", {{"server", "nfs.example"}, {"path", path}}}}}};
}

// Writes down what a ListWatch of PersistentVolumes says: names by event type.
class Recorder {
 public:
  ListWatchCallbacks Callbacks() {
    return {.on_event =
                [this](const model::ObjectEvent& event) {
                  absl::MutexLock lock(&mutex_);
                  lines_.insert(fmt::format("{} {}", ToString(event.type), event.key.name));
                },
            .on_synced =
                [this](const std::set<model::ObjectKey>&) {
                  absl::MutexLock lock(&mutex_);
                  ++syncs_;
                },
            .on_state =
                [this](const WatchState& state) {
                  absl::MutexLock lock(&mutex_);
                  state_ = state.kind;
                }};
  }
  bool Saw(const std::string& line) {
    absl::MutexLock lock(&mutex_);
    return lines_.contains(line);
  }
  int Syncs() {
    absl::MutexLock lock(&mutex_);
    return syncs_;
  }
  WatchState::Kind State() {
    absl::MutexLock lock(&mutex_);
    return state_;
  }

 private:
  absl::Mutex mutex_;
  std::set<std::string> lines_;
  int syncs_ = 0;
  WatchState::Kind state_ = WatchState::Kind::kFailing;
};

class KubeClientClusterTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto cluster = Cluster::Start("client");
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  static Client ClientOf(const std::string& kubeconfig, ClientOptions options = {}) {
    const auto access = LoadKubeconfig(kubeconfig, "");
    EXPECT_TRUE(access.ok()) << access.status();
    return Client(*access, options);
  }

  static std::unique_ptr<Cluster> cluster_;
};
std::unique_ptr<Cluster> KubeClientClusterTest::cluster_;

TEST_F(KubeClientClusterTest, SignsInByCertificateByTokenAndByTokenFile) {
  EXPECT_TRUE(ClientOf(cluster_->Kubeconfig()).Version().ok());
  EXPECT_TRUE(ClientOf(cluster_->TokenKubeconfig()).List(kPersistentVolumes, "").ok());
  const tests::TempDir folder;
  std::ofstream(folder.File("token")) << cluster_->Token() << "\n";
  ClusterAccess access;
  access.server = cluster_->Url();
  access.tls.ca_file = cluster_->CaFile();
  access.token_file = folder.File("token");
  EXPECT_TRUE(Client(access).List(kPersistentVolumes, "").ok());
  access.token_file.clear();
  access.token = "wrong";
  EXPECT_TRUE(absl::IsUnauthenticated(Client(access).List(kPersistentVolumes, "").status()));
  access.token.clear();
  EXPECT_TRUE(absl::IsPermissionDenied(Client(access).List(kPersistentVolumes, "").status()));
}

TEST_F(KubeClientClusterTest, AServerOfAnotherCaIsNotTalkedTo) {
  ClusterAccess access;
  access.server = cluster_->Url();
  access.token = cluster_->Token();
  const absl::Status status = Client(access).Version().status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_NE(MessageOf(status).find("certificate"), std::string_view::npos) << status;
}

TEST_F(KubeClientClusterTest, EveryRefusalHasItsCode) {
  const Client client = ClientOf(cluster_->Kubeconfig());
  const auto created = client.Create(kPersistentVolumes, "", Volume("codes"));
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_TRUE(absl::IsAlreadyExists(client.Create(kPersistentVolumes, "", Volume("codes")).status()));
  EXPECT_TRUE(absl::IsNotFound(client.Get(kPersistentVolumes, "", "nobody").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client
                                          .Apply(kPersistentVolumes, "", "bad",
                                                 {{"apiVersion", "v1"},
                                                  {"kind", "PersistentVolume"},
                                                  {"metadata", {{"name", "bad"}}},
                                                  {"spec", json::object()}})
                                          .status()));
  EXPECT_TRUE(absl::IsAborted(client.Delete(kPersistentVolumes, "", "codes", "another-uid")));
  EXPECT_EQ(client.Delete(kPersistentVolumes, "", "codes", (*created)["metadata"]["uid"]), absl::OkStatus());
}

TEST_F(KubeClientClusterTest, AppliesWithoutForceSoThatAnotherManagersFieldIsAConflict) {
  const Client client = ClientOf(cluster_->Kubeconfig());
  ASSERT_TRUE(client.Apply(kPersistentVolumes, "", "fields", Volume("fields")).ok());
  ASSERT_TRUE(client.Apply(kPersistentVolumes, "", "fields", Volume("fields")).ok());
  ASSERT_TRUE(
      cluster_->MergePatch("/api/v1/persistentvolumes/fields", {{"spec", {{"capacity", {{"storage", "2Gi"}}}}}}).ok());
  const absl::Status conflict = client.Apply(kPersistentVolumes, "", "fields", Volume("fields")).status();
  EXPECT_TRUE(absl::IsAborted(conflict)) << conflict;
  EXPECT_TRUE(
      client
          .Patch(kPersistentVolumes, "", "fields", PatchType::kMerge, {{"spec", {{"capacity", {{"storage", "1Gi"}}}}}})
          .ok());
  EXPECT_EQ(client.Delete(kPersistentVolumes, "", "fields", ""), absl::OkStatus());
}

TEST_F(KubeClientClusterTest, ReadsAListInPages) {
  const Client client = ClientOf(cluster_->Kubeconfig(), {.list_page_size = 2});
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE(client.Create(kPersistentVolumes, "", Volume(fmt::format("page-{}", i))).ok());
  const auto list = client.List(kPersistentVolumes, "");
  ASSERT_TRUE(list.ok()) << list.status();
  int found = 0;
  for (const json& item : list->items) {
    EXPECT_EQ(item["kind"], "PersistentVolume");
    if (item["metadata"]["name"].get<std::string>().starts_with("page-")) ++found;
  }
  EXPECT_EQ(found, 5);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(client.Delete(kPersistentVolumes, "", fmt::format("page-{}", i), ""), absl::OkStatus());
}

TEST_F(KubeClientClusterTest, AKindWithoutItsCrdIsNotServed) {
  const Client client = ClientOf(cluster_->Kubeconfig());
  constexpr Resource kUnknown{"nowhere.example", "v1", "things", "Thing", false};
  EXPECT_TRUE(absl::IsNotFound(client.List(kUnknown, "").status()));
  EXPECT_TRUE(client.List(kVolumeSnapshots, "").ok());
}

TEST_F(KubeClientClusterTest, FollowsThroughARestartOfTheApiServer) {
  const Client client = ClientOf(cluster_->Kubeconfig());
  Recorder recorder;
  std::jthread thread([&](std::stop_token stop) {
    ListWatch(client, model::ObjectKind::kPersistentVolume, recorder.Callbacks(),
              {.retry_first = absl::Milliseconds(50)})
        .Run(stop);
  });
  ASSERT_EQ(WaitFor("the list", absl::Minutes(1), [&] { return recorder.Syncs() == 1; }), absl::OkStatus());
  ASSERT_TRUE(cluster_->Post("/api/v1/persistentvolumes", Volume("kept")).ok());
  ASSERT_TRUE(cluster_->Post("/api/v1/persistentvolumes", Volume("gone")).ok());
  ASSERT_EQ(WaitFor("the additions", absl::Minutes(1),
                    [&] { return recorder.Saw("ADDED kept") && recorder.Saw("ADDED gone"); }),
            absl::OkStatus());
  cluster_->StopApi();
  ASSERT_EQ(WaitFor("the failure", absl::Minutes(1), [&] { return recorder.State() == WatchState::Kind::kFailing; }),
            absl::OkStatus());
  ASSERT_EQ(cluster_->StartApi(), absl::OkStatus());
  ASSERT_TRUE(cluster_->Delete("/api/v1/persistentvolumes/gone").ok());
  ASSERT_TRUE(cluster_->Post("/api/v1/persistentvolumes", Volume("late")).ok());
  // The cluster's own controller takes the finalizer away, once it follows the new server.
  ASSERT_EQ(WaitFor("the deletion", absl::Minutes(3),
                    [&] { return absl::IsNotFound(cluster_->Get("/api/v1/persistentvolumes/gone").status()); }),
            absl::OkStatus());
  ASSERT_EQ(WaitFor("what came after", absl::Minutes(1),
                    [&] { return recorder.Saw("DELETED gone") && recorder.Saw("ADDED late"); }),
            absl::OkStatus());
  EXPECT_FALSE(recorder.Saw("DELETED kept"));
  EXPECT_EQ(WaitFor("the state", absl::Minutes(1), [&] { return recorder.State() == WatchState::Kind::kSynced; }),
            absl::OkStatus());
  const absl::Time begin = absl::Now();
  thread.request_stop();
  thread.join();
  EXPECT_LT(absl::Now() - begin, absl::Seconds(1));
  for (const char* name : {"kept", "late"})
    EXPECT_TRUE(cluster_->Delete(fmt::format("/api/v1/persistentvolumes/{}", name)).ok());
}

TEST_F(KubeClientClusterTest, AWatchFromBeforeWhatTheServerRemembersHasExpired) {
  const Client client = ClientOf(cluster_->Kubeconfig());
  const auto before = client.List(kPersistentVolumes, "");
  ASSERT_TRUE(before.ok()) << before.status();
  for (const char* name : {"newer-1", "newer-2"}) {
    ASSERT_TRUE(client.Create(kPersistentVolumes, "", Volume(name)).ok());
    ASSERT_EQ(client.Delete(kPersistentVolumes, "", name, ""), absl::OkStatus());
  }
  cluster_->StopApi();
  ASSERT_EQ(cluster_->StartApi(), absl::OkStatus());
  const absl::Status status =
      client.Watch(kPersistentVolumes, "", before->resource_version, {}, [](const WatchEvent&) {});
  EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
}

TEST_F(KubeClientClusterTest, AServerThatDoesNotAnswerTimesOutAndIsFollowedAgain) {
  const Client client = ClientOf(cluster_->Kubeconfig(), {.connect_timeout = absl::Seconds(1),
                                                          .request_timeout = absl::Seconds(2),
                                                          .watch_silence_timeout = absl::Seconds(2)});
  cluster_->SignalApi(SIGSTOP);
  const absl::Status status = client.List(kPersistentVolumes, "").status();
  cluster_->SignalApi(SIGCONT);
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_TRUE(client.List(kPersistentVolumes, "").ok());
}

}  // namespace
}  // namespace understudy::kube
