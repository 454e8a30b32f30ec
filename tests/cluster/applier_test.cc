// What is applied at DR against a real API server with its claim binder.
#include "control/apply/applier.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/apply/transform.h"
#include "tests/support/cluster.h"
#include "tests/support/wait.h"

namespace understudy::control {
namespace {

using model::CatalogEntry;
using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;
using tests::Cluster;
using tests::WaitFor;
using tests::WaitForOk;

ObjectKey VolumeKey(const std::string& name) {
  return {ObjectKind::kPersistentVolume, "", name};
}
ObjectKey ClaimKey(const std::string& name) {
  return {ObjectKind::kPersistentVolumeClaim, "shop", name};
}

std::string PathOf(const ObjectKey& key) {
  return kube::ObjectPath(kube::ResourceOf(key.kind), key.namespace_name, key.name);
}

// A volume as the primary has it: bound, with that cluster's uids all over it.
CatalogEntry VolumeEntry(const std::string& name, const std::string& uid = "uid-1", const std::string& replica = "") {
  CatalogEntry entry;
  entry.key = VolumeKey(name);
  entry.uid = uid;
  entry.replica_path = replica.empty() ? "/replicas/" + name : replica;
  entry.resource =
      json{{"metadata",
            {{"name", name}, {"uid", uid}, {"resourceVersion", "77"}, {"finalizers", {"kubernetes.io/pv-protection"}}}},
           {"spec",
            {{"capacity", {{"storage", "1Gi"}}},
             {"accessModes", {"ReadWriteMany"}},
             {"persistentVolumeReclaimPolicy", "Delete"},
             {"storageClassName", "nfs"},
             {"claimRef", {{"namespace", "shop"}, {"name", name}, {"uid", "primary-claim-uid"}}},
             {"nfs", {{"server", "nfs1"}, {"path", "/export/" + name}}}}},
           {"status", {{"phase", "Bound"}}}}
          .dump();
  return entry;
}

CatalogEntry ClaimEntry(const std::string& name, const std::string& volume, const std::string& uid = "claim-uid-1") {
  CatalogEntry entry;
  entry.key = ClaimKey(name);
  entry.uid = uid;
  entry.resource = json{{"metadata",
                         {{"name", name},
                          {"namespace", "shop"},
                          {"uid", uid},
                          {"annotations", {{"pv.kubernetes.io/bind-completed", "yes"}}}}},
                        {"spec",
                         {{"accessModes", {"ReadWriteMany"}},
                          {"resources", {{"requests", {{"storage", "1Gi"}}}}},
                          {"storageClassName", "nfs"},
                          {"volumeName", volume}}},
                        {"status", {{"phase", "Bound"}}}}
                       .dump();
  return entry;
}

class ApplierClusterTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto cluster = Cluster::Start("dr");
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
    const auto access = kube::LoadKubeconfig(cluster_->Kubeconfig(), "");
    ASSERT_TRUE(access.ok()) << access.status();
    client_ = std::make_unique<kube::Client>(*access);
  }
  static void TearDownTestSuite() {
    client_.reset();
    cluster_.reset();
  }

  absl::Status Apply(const CatalogEntry& entry) {
    TransformOptions options;
    options.dr_server = "dr-nfs";
    const auto manifest = Transform(entry, options);
    RETURN_IF_ERROR(manifest.status());
    return applier_.Apply(*manifest);
  }
  // As the follower does: again and again.
  void ApplyUntilDone(const CatalogEntry& entry) {
    EXPECT_EQ(WaitForOk("it to be applied", absl::Minutes(1), [&] { return Apply(entry); }), absl::OkStatus());
  }
  static std::string PhaseOf(const ObjectKey& key) {
    const auto object = cluster_->Get(PathOf(key));
    return object.ok() ? object->at("status").value("phase", "") : std::string(object.status().ToString());
  }
  static void ExpectPhase(const ObjectKey& key, const std::string& phase) {
    EXPECT_EQ(WaitFor(fmt::format("{} to be {}", ToString(key), phase), absl::Minutes(1),
                      [&] { return PhaseOf(key) == phase; }),
              absl::OkStatus())
        << PhaseOf(key);
  }
  static void ExpectGone(const ObjectKey& key) {
    EXPECT_EQ(WaitFor("it to be gone", absl::Minutes(1),
                      [&] { return absl::IsNotFound(cluster_->Get(PathOf(key)).status()); }),
              absl::OkStatus());
  }
  void ApplyBound(const std::string& name) {
    ASSERT_EQ(Apply(VolumeEntry(name)), absl::OkStatus());
    ASSERT_EQ(Apply(ClaimEntry(name, name)), absl::OkStatus());
    ExpectPhase(ClaimKey(name), "Bound");
    ExpectPhase(VolumeKey(name), "Bound");
  }
  json Get(const ObjectKey& key) {
    const auto object = cluster_->Get(PathOf(key));
    EXPECT_TRUE(object.ok()) << object.status();
    return object.ok() ? *object : json::object();
  }

  static std::unique_ptr<Cluster> cluster_;
  static std::unique_ptr<kube::Client> client_;
  KubeApplier applier_{*client_};
};
std::unique_ptr<Cluster> ApplierClusterTest::cluster_;
std::unique_ptr<kube::Client> ApplierClusterTest::client_;

TEST_F(ApplierClusterTest, AVolumeAndItsClaimAreBoundInANamespaceThatWasNotThere) {
  ApplyBound("plain");
  const json volume = Get(VolumeKey("plain"));
  EXPECT_EQ(volume["spec"]["nfs"]["server"], "dr-nfs");
  EXPECT_EQ(volume["spec"]["nfs"]["path"], "/replicas/plain");
  EXPECT_EQ(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
  EXPECT_EQ(volume["metadata"]["labels"][kManagedByLabel], kManagedByValue);
  EXPECT_EQ(volume["metadata"]["annotations"][kSourceUidAnnotation], "uid-1");
  // The same again, after binding, changes nothing.
  EXPECT_EQ(Apply(VolumeEntry("plain")), absl::OkStatus());
  EXPECT_EQ(Apply(ClaimEntry("plain", "plain")), absl::OkStatus());
  EXPECT_EQ(Get(VolumeKey("plain"))["metadata"]["resourceVersion"], volume["metadata"]["resourceVersion"]);
  ExpectPhase(ClaimKey("plain"), "Bound");
}

TEST_F(ApplierClusterTest, TheClaimMayComeFirst) {
  ASSERT_EQ(Apply(ClaimEntry("early", "early")), absl::OkStatus());
  ASSERT_EQ(Apply(VolumeEntry("early")), absl::OkStatus());
  ExpectPhase(ClaimKey("early"), "Bound");
}

TEST_F(ApplierClusterTest, DeletesWhatItMadeTheClaimFirst) {
  ApplyBound("bye");
  const auto bound = applier_.Delete(VolumeKey("bye"), "uid-1");
  EXPECT_TRUE(absl::IsAborted(bound.status())) << bound.status();
  const auto claim = applier_.Delete(ClaimKey("bye"), "claim-uid-1");
  ASSERT_TRUE(claim.ok()) << claim.status();
  EXPECT_EQ(*claim, DeleteOutcome::kDeleted);
  ExpectGone(ClaimKey("bye"));
  EXPECT_EQ(WaitForOk("the volume's deletion", absl::Minutes(1),
                      [&] { return applier_.Delete(VolumeKey("bye"), "uid-1").status(); }),
            absl::OkStatus());
  ExpectGone(VolumeKey("bye"));
  EXPECT_EQ(*applier_.Delete(VolumeKey("bye"), "uid-1"), DeleteOutcome::kAbsent);
}

TEST_F(ApplierClusterTest, WhatIsNotUnderstudysIsNeitherChangedNorDeleted) {
  json theirs = {{"apiVersion", "v1"},
                 {"kind", "PersistentVolume"},
                 {"metadata", {{"name", "theirs"}, {"annotations", {{kSourceUidAnnotation, "uid-1"}}}}},
                 {"spec",
                  {{"capacity", {{"storage", "1Gi"}}},
                   {"accessModes", {"ReadWriteMany"}},
                   {"storageClassName", "nfs"},
                   {"nfs", {{"server", "somewhere"}, {"path", "/x"}}}}}};
  ASSERT_TRUE(cluster_->Post("/api/v1/persistentvolumes", theirs).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Apply(VolumeEntry("theirs"))));
  EXPECT_EQ(*applier_.Delete(VolumeKey("theirs"), "uid-1"), DeleteOutcome::kLeftAlone);
  ASSERT_EQ(Apply(VolumeEntry("ours", "uid-new")), absl::OkStatus());
  EXPECT_EQ(*applier_.Delete(VolumeKey("ours"), "uid-old"), DeleteOutcome::kLeftAlone);
  const json after = Get(VolumeKey("theirs"));
  EXPECT_EQ(after["spec"]["nfs"]["server"], "somewhere");
  EXPECT_FALSE(after["metadata"].contains("deletionTimestamp"));
  EXPECT_FALSE(after["metadata"].contains("labels"));
  EXPECT_FALSE(Get(VolumeKey("ours"))["metadata"].contains("deletionTimestamp"));
}

TEST_F(ApplierClusterTest, AnUnboundVolumeWithAnotherSourceIsMadeAnew) {
  ASSERT_EQ(Apply(VolumeEntry("moved")), absl::OkStatus());
  ApplyUntilDone(VolumeEntry("moved", "uid-1", "/replicas/elsewhere"));
  EXPECT_EQ(Get(VolumeKey("moved"))["spec"]["nfs"]["path"], "/replicas/elsewhere");
  ASSERT_EQ(Apply(ClaimEntry("moved", "moved")), absl::OkStatus());
  ExpectPhase(ClaimKey("moved"), "Bound");
  const absl::Status bound = Apply(VolumeEntry("moved", "uid-1", "/replicas/third"));
  EXPECT_TRUE(absl::IsFailedPrecondition(bound)) << bound;
  ExpectPhase(ClaimKey("moved"), "Bound");
}

TEST_F(ApplierClusterTest, AVolumeWhosePolicyIsNoLongerRetainIsNotDeleted) {
  ASSERT_EQ(Apply(VolumeEntry("policy")), absl::OkStatus());
  const auto set_policy = [](const char* policy) {
    const json patch = {{"spec", {{"persistentVolumeReclaimPolicy", policy}}}};
    ASSERT_TRUE(cluster_->MergePatch(PathOf(VolumeKey("policy")), patch).ok());
  };
  set_policy("Delete");
  const auto refused = applier_.Delete(VolumeKey("policy"), "uid-1");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
  EXPECT_TRUE(absl::IsFailedPrecondition(Apply(VolumeEntry("policy", "uid-1", "/replicas/elsewhere"))));
  EXPECT_FALSE(Get(VolumeKey("policy"))["metadata"].contains("deletionTimestamp"));
  set_policy("Retain");
  EXPECT_EQ(*applier_.Delete(VolumeKey("policy"), "uid-1"), DeleteOutcome::kDeleted);
}

TEST_F(ApplierClusterTest, AClaimThatWasDeletedAtDrAndMadeAgainIsBoundAgain) {
  ApplyBound("again");
  ASSERT_TRUE(cluster_->Delete(PathOf(ClaimKey("again"))).ok());
  ExpectGone(ClaimKey("again"));
  ExpectPhase(VolumeKey("again"), "Released");
  ASSERT_EQ(Apply(ClaimEntry("again", "again", "claim-uid-2")), absl::OkStatus());
  ExpectPhase(ClaimKey("again"), "Bound");
  EXPECT_EQ(Get(VolumeKey("again"))["spec"]["claimRef"]["uid"], Get(ClaimKey("again"))["metadata"]["uid"]);
}

TEST_F(ApplierClusterTest, AReleasedVolumeIsKeptForItsClaim) {
  ApplyBound("kept");
  ASSERT_TRUE(cluster_->Delete(PathOf(ClaimKey("kept"))).ok());
  ExpectPhase(VolumeKey("kept"), "Released");
  ApplyUntilDone(VolumeEntry("kept"));
  ExpectPhase(VolumeKey("kept"), "Available");
  EXPECT_EQ(Get(VolumeKey("kept"))["spec"]["claimRef"]["name"], "kept");
  ASSERT_EQ(Apply(ClaimEntry("kept", "kept")), absl::OkStatus());
  ExpectPhase(ClaimKey("kept"), "Bound");
}

TEST_F(ApplierClusterTest, AClaimThatWasMadeAgainAtThePrimaryWithAnotherVolumeIsReplaced) {
  ASSERT_EQ(Apply(ClaimEntry("roaming", "first-of-roaming", "claim-uid-1")), absl::OkStatus());
  CatalogEntry volume = VolumeEntry("second-of-roaming");
  json resource = json::parse(volume.resource);
  resource["spec"]["claimRef"]["name"] = "roaming";
  volume.resource = resource.dump();
  ASSERT_EQ(Apply(volume), absl::OkStatus());
  ApplyUntilDone(ClaimEntry("roaming", "second-of-roaming", "claim-uid-2"));
  ExpectPhase(ClaimKey("roaming"), "Bound");
  EXPECT_EQ(Get(ClaimKey("roaming"))["metadata"]["annotations"][kSourceUidAnnotation], "claim-uid-2");
}

TEST_F(ApplierClusterTest, AFieldThatSomebodyElseSetIsAConflictAndStays) {
  ASSERT_EQ(Apply(VolumeEntry("disputed")), absl::OkStatus());
  ASSERT_TRUE(
      cluster_->MergePatch(PathOf(VolumeKey("disputed")), {{"spec", {{"capacity", {{"storage", "9Gi"}}}}}}).ok());
  const absl::Status status = Apply(VolumeEntry("disputed"));
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_EQ(Get(VolumeKey("disputed"))["spec"]["capacity"]["storage"], "9Gi");
}

TEST_F(ApplierClusterTest, AnObjectThatIsBeingDeletedIsWaitedFor) {
  ApplyBound("leaving");
  // Bound and protected: its deletion hangs until the claim has gone.
  ASSERT_TRUE(cluster_->Delete(PathOf(VolumeKey("leaving"))).ok());
  const absl::Status status = Apply(VolumeEntry("leaving"));
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  ASSERT_TRUE(cluster_->Delete(PathOf(ClaimKey("leaving"))).ok());
  ApplyUntilDone(VolumeEntry("leaving"));
  ApplyUntilDone(ClaimEntry("leaving", "leaving"));
  ExpectPhase(ClaimKey("leaving"), "Bound");
}

TEST_F(ApplierClusterTest, WhatTheServerRefusesIsInvalid) {
  CatalogEntry entry = VolumeEntry("refused");
  json resource = json::parse(entry.resource);
  resource["spec"]["accessModes"] = {"ReadSometimes"};
  entry.resource = resource.dump();
  const absl::Status status = Apply(entry);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
}

TEST_F(ApplierClusterTest, SnapshotsOfTheNfsDriverAreMadeFromWhatIsThere) {
  CatalogEntry content;
  content.key = {ObjectKind::kVolumeSnapshotContent, "", "content-1"};
  content.uid = "uid-3";
  content.replica_path = "/replicas/snaps/s";
  content.resource = R"({"spec":{"driver":"nfs.csi.k8s.io","volumeSnapshotRef":{"namespace":"shop","name":"nightly"}},
                         "status":{"snapshotHandle":"nfs1#export/snaps#s#s#pvc-1"}})";
  CatalogEntry snapshot;
  snapshot.key = {ObjectKind::kVolumeSnapshot, "shop", "nightly"};
  snapshot.uid = "uid-4";
  snapshot.resource = R"({"spec":{},"status":{"boundVolumeSnapshotContentName":"content-1"}})";
  ASSERT_EQ(Apply(content), absl::OkStatus());
  ASSERT_EQ(Apply(snapshot), absl::OkStatus());
  EXPECT_EQ(Get(content.key)["spec"]["source"]["snapshotHandle"], "dr-nfs#replicas/snaps#s#s#pvc-1");
  EXPECT_EQ(*applier_.Delete(snapshot.key, "uid-4"), DeleteOutcome::kDeleted);
  EXPECT_EQ(*applier_.Delete(content.key, "uid-3"), DeleteOutcome::kDeleted);
}

}  // namespace
}  // namespace understudy::control
