// What is applied at DR against a real API server with its claim binder.
#include "control/apply/applier.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/apply/transform.h"
#include "tests/support/cluster.h"
#include "tests/support/wait.h"

namespace understudy::control {
namespace {

using ::testing::HasSubstr;

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
  KubeApplier applier_{*client_, "the cluster under test"};
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
  const absl::Status refused = Apply(VolumeEntry("theirs"));
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("theirs is at the cluster under test already"));
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

TEST_F(ApplierClusterTest, ABoundVolumeThatWasMadeAnewElsewhereIsReleasedByItsClaimFirst) {
  ApplyBound("anew");
  const CatalogEntry anew = VolumeEntry("anew", "uid-2", "/replicas/elsewhere");
  // The newer claim may have been there before: it is bound to the earlier volume then.
  ASSERT_EQ(Apply(ClaimEntry("anew", "anew", "claim-uid-2")), absl::OkStatus());
  ApplyUntilDone(anew);
  EXPECT_EQ(Get(VolumeKey("anew"))["spec"]["nfs"]["path"], "/replicas/elsewhere");
  ExpectGone(ClaimKey("anew"));
  ApplyUntilDone(ClaimEntry("anew", "anew", "claim-uid-2"));
  ExpectPhase(ClaimKey("anew"), "Bound");
  ExpectPhase(VolumeKey("anew"), "Bound");
}

TEST_F(ApplierClusterTest, AnotherPairDoesNotTakeANameOver) {
  TransformOptions options;
  options.dr_server = "dr-nfs";
  const auto apply = [&](const std::string& pair, const std::string& uid) {
    options.pair = pair;
    return applier_.Apply(*Transform(VolumeEntry("named", uid, "/replicas/" + pair), options));
  };
  ASSERT_EQ(apply("east", "uid-1"), absl::OkStatus());
  const absl::Status refused = apply("west", "uid-2");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_EQ(Get(VolumeKey("named"))["spec"]["nfs"]["path"], "/replicas/east");
  EXPECT_EQ(Get(VolumeKey("named"))["metadata"]["annotations"][kPairAnnotation], "east");
  EXPECT_TRUE(applier_.Delete(VolumeKey("named"), "uid-1").ok());
  EXPECT_EQ(WaitForOk("the other one", absl::Minutes(1), [&] { return apply("west", "uid-2"); }), absl::OkStatus());
}

TEST_F(ApplierClusterTest, AStrangersClaimKeepsTheVolumeThatItIsBoundTo) {
  ASSERT_EQ(Apply(VolumeEntry("lent")), absl::OkStatus());
  json claim = json::parse(ClaimEntry("lent", "lent").resource);
  claim["metadata"] = {{"name", "lent"}};
  claim.erase("status");
  ASSERT_TRUE(cluster_->Post("/api/v1/namespaces/shop/persistentvolumeclaims", claim).ok());
  ExpectPhase(ClaimKey("lent"), "Bound");
  ExpectPhase(VolumeKey("lent"), "Bound");
  const absl::Status kept = Apply(VolumeEntry("lent", "uid-2", "/replicas/elsewhere"));
  EXPECT_TRUE(absl::IsFailedPrecondition(kept)) << kept;
  EXPECT_FALSE(Get(ClaimKey("lent"))["metadata"].contains("deletionTimestamp"));
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

TEST_F(ApplierClusterTest, AClaimThatGrewWhereItsClassForbidsItKeepsItsSizeAndGetsTheRest) {
  ApplyBound("growing");
  CatalogEntry entry = ClaimEntry("growing", "growing");
  json resource = json::parse(entry.resource);
  resource["spec"]["resources"]["requests"]["storage"] = "2Gi";
  resource["metadata"]["labels"] = {{"tier", "gold"}};
  entry.resource = resource.dump();
  const absl::Status status = Apply(entry);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(status.message().find("keeps its size at the cluster under test, 1Gi instead of 2Gi"), std::string::npos)
      << status;
  const json claim = Get(ClaimKey("growing"));
  EXPECT_EQ(claim["spec"]["resources"]["requests"]["storage"], "1Gi");
  EXPECT_EQ(claim["metadata"]["labels"]["tier"], "gold");
  // As when the expansion was taken back at the primary.
  EXPECT_EQ(Apply(ClaimEntry("growing", "growing")), absl::OkStatus());
}

TEST_F(ApplierClusterTest, AClaimThatGrewGrowsWhereItsClassAllowsIt) {
  ASSERT_TRUE(
      cluster_
          ->Post("/apis/storage.k8s.io/v1/storageclasses",
                 {{"metadata", {{"name", "elastic"}}}, {"provisioner", "nobody"}, {"allowVolumeExpansion", true}})
          .ok());
  const auto in_elastic = [](CatalogEntry entry, const std::string& size) {
    json resource = json::parse(entry.resource);
    resource["spec"]["storageClassName"] = "elastic";
    if (resource["spec"].contains("resources")) resource["spec"]["resources"]["requests"]["storage"] = size;
    entry.resource = resource.dump();
    return entry;
  };
  ASSERT_EQ(Apply(in_elastic(VolumeEntry("stretchy"), "1Gi")), absl::OkStatus());
  ASSERT_EQ(Apply(in_elastic(ClaimEntry("stretchy", "stretchy"), "1Gi")), absl::OkStatus());
  ExpectPhase(ClaimKey("stretchy"), "Bound");
  EXPECT_EQ(Apply(in_elastic(ClaimEntry("stretchy", "stretchy"), "2Gi")), absl::OkStatus());
  EXPECT_EQ(Get(ClaimKey("stretchy"))["spec"]["resources"]["requests"]["storage"], "2Gi");
}

// What a claim never changes: it was made anew at the primary, and DR heard of the new one alone.
TEST_F(ApplierClusterTest, AClaimThatWasMadeAgainWithOtherModesOrASmallerSizeIsReplaced) {
  ApplyBound("remade");
  const auto with = [](const char* modes, const char* size, const std::string& uid) {
    CatalogEntry entry = ClaimEntry("remade", "remade", uid);
    json resource = json::parse(entry.resource);
    resource["spec"]["accessModes"] = {modes};
    resource["spec"]["resources"]["requests"]["storage"] = size;
    entry.resource = resource.dump();
    return entry;
  };
  ApplyUntilDone(with("ReadWriteMany", "512Mi", "claim-uid-2"));
  ExpectPhase(ClaimKey("remade"), "Bound");
  EXPECT_EQ(Get(ClaimKey("remade"))["spec"]["resources"]["requests"]["storage"], "512Mi");
  CatalogEntry volume = VolumeEntry("remade");
  json resource = json::parse(volume.resource);
  resource["spec"]["accessModes"] = {"ReadWriteOnce"};
  volume.resource = resource.dump();
  ASSERT_EQ(Apply(volume), absl::OkStatus());
  ApplyUntilDone(with("ReadWriteOnce", "512Mi", "claim-uid-3"));
  EXPECT_EQ(Get(ClaimKey("remade"))["spec"]["accessModes"], json({"ReadWriteOnce"}));
}

CatalogEntry ContentEntry(const std::string& name = "nightly", const std::string& of = "nightly") {
  CatalogEntry content;
  content.key = {ObjectKind::kVolumeSnapshotContent, "", "content-" + name};
  content.uid = "uid-3";
  content.replica_path = "/replicas/snaps/s";
  content.resource =
      json{{"spec", {{"driver", "nfs.csi.k8s.io"}, {"volumeSnapshotRef", {{"namespace", "shop"}, {"name", of}}}}},
           {"status", {{"snapshotHandle", "nfs1#export/snaps#s#s#pvc-1"}}}}
          .dump();
  return content;
}
CatalogEntry SnapshotEntry(const std::string& name = "nightly") {
  CatalogEntry snapshot;
  snapshot.key = {ObjectKind::kVolumeSnapshot, "shop", name};
  snapshot.uid = "uid-4";
  snapshot.resource =
      json{{"spec", json::object()}, {"status", {{"boundVolumeSnapshotContentName", "content-" + name}}}}.dump();
  return snapshot;
}

TEST_F(ApplierClusterTest, SnapshotsOfTheNfsDriverAreMadeFromWhatIsThere) {
  const CatalogEntry content = ContentEntry();
  const CatalogEntry snapshot = SnapshotEntry();
  ASSERT_EQ(Apply(content), absl::OkStatus());
  ASSERT_EQ(Apply(snapshot), absl::OkStatus());
  EXPECT_EQ(Get(content.key)["spec"]["source"]["snapshotHandle"], "dr-nfs#replicas/snaps#s#s#pvc-1");
  EXPECT_EQ(*applier_.Delete(snapshot.key, "uid-4"), DeleteOutcome::kDeleted);
  EXPECT_EQ(*applier_.Delete(content.key, "uid-3"), DeleteOutcome::kDeleted);
}

TEST_F(ApplierClusterTest, AContentThatTheControllerBoundIsAppliedAgainAndFreedOnceItsSnapshotIsGone) {
  const CatalogEntry content = ContentEntry("bound", "bound");
  const CatalogEntry snapshot = SnapshotEntry("bound");
  const auto bind = [&] {
    // As the snapshot controller does.
    const json uid = Get(snapshot.key)["metadata"]["uid"];
    ASSERT_TRUE(cluster_->MergePatch(PathOf(content.key), {{"spec", {{"volumeSnapshotRef", {{"uid", uid}}}}}}).ok());
  };
  const auto bound_to = [&] { return Get(content.key)["spec"]["volumeSnapshotRef"].value("uid", ""); };
  ASSERT_EQ(Apply(content), absl::OkStatus());
  ASSERT_EQ(Apply(snapshot), absl::OkStatus());
  bind();
  EXPECT_EQ(Apply(content), absl::OkStatus());
  EXPECT_EQ(Apply(snapshot), absl::OkStatus());
  EXPECT_EQ(bound_to(), Get(snapshot.key)["metadata"]["uid"]) << "the binding stays";

  ASSERT_TRUE(cluster_->Delete(PathOf(snapshot.key)).ok());
  ExpectGone(snapshot.key);
  EXPECT_EQ(Apply(content), absl::OkStatus());
  EXPECT_EQ(bound_to(), "") << "the next snapshot of that name couldn't be bound";
  ASSERT_EQ(Apply(snapshot), absl::OkStatus());
  bind();
  // The snapshot is the first to be applied again.
  ASSERT_TRUE(cluster_->Delete(PathOf(snapshot.key)).ok());
  ExpectGone(snapshot.key);
  EXPECT_EQ(Apply(snapshot), absl::OkStatus());
  EXPECT_EQ(bound_to(), "");
  bind();
  EXPECT_EQ(Apply(content), absl::OkStatus());
  EXPECT_EQ(bound_to(), Get(snapshot.key)["metadata"]["uid"]);
}

TEST_F(ApplierClusterTest, AContentThatBelongsToAnotherSnapshotIsMadeAnew) {
  ASSERT_EQ(Apply(ContentEntry("given", "first")), absl::OkStatus());
  ApplyUntilDone(ContentEntry("given", "second"));
  EXPECT_EQ(Get(ContentEntry("given").key)["spec"]["volumeSnapshotRef"]["name"], "second");
}

}  // namespace
}  // namespace understudy::control
