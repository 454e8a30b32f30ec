// What a Restore object asks of Velero, what it says, and that the memory twin keeps the same promises.
#include "control/oadp/restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/memory_restores.h"

namespace understudy::control {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

RestoreSpec Spec() {
  RestoreSpec spec;
  spec.name = "run-7";
  spec.backup_name = "nightly";
  spec.included_namespaces = {"shop", "bank"};
  return spec;
}

TEST(RestoreManifestTest, StorageIsNeverRestoredWhateverElseIsLeftOut) {
  RestoreSpec spec = Spec();
  spec.excluded_resources = {"datavolumes.cdi.kubevirt.io", "persistentvolumes"};
  const json manifest = RestoreManifest(spec, "openshift-adp");
  EXPECT_EQ(manifest["apiVersion"], "velero.io/v1");
  EXPECT_EQ(manifest["kind"], "Restore");
  EXPECT_EQ(manifest["metadata"]["name"], "run-7");
  EXPECT_EQ(manifest["metadata"]["namespace"], "openshift-adp");
  EXPECT_EQ(manifest["spec"]["backupName"], "nightly");
  EXPECT_EQ(manifest["spec"]["includedNamespaces"], json({"bank", "shop"}));
  EXPECT_EQ(manifest["spec"]["restorePVs"], false);
  EXPECT_EQ(manifest["spec"]["existingResourcePolicy"], "none");
  EXPECT_FALSE(manifest["spec"].contains("namespaceMapping"));
  const auto excluded = manifest["spec"]["excludedResources"].get<std::vector<std::string>>();
  EXPECT_THAT(excluded,
              ElementsAre("datavolumes.cdi.kubevirt.io", "persistentvolumeclaims", "persistentvolumes",
                          "volumesnapshotcontents.snapshot.storage.k8s.io", "volumesnapshots.snapshot.storage.k8s.io"));
}

TEST(RestoreManifestTest, LabelsTellThePluginAndThatItIsOurs) {
  const json planned = RestoreManifest(Spec(), "adp")["metadata"]["labels"];
  EXPECT_EQ(planned, json({{"app.kubernetes.io/managed-by", "understudy"},
                           {"velero.kubevirt.io/restore-run-strategy", "Halted"}}));
  RestoreSpec spec = Spec();
  spec.halted = false;
  spec.clear_mac_address = true;
  spec.new_firmware_uuid = true;
  spec.existing_resources = ExistingResources::kUpdate;
  spec.namespace_mapping = {{"shop", "shop-test"}};
  const json test = RestoreManifest(spec, "adp");
  EXPECT_EQ(test["metadata"]["labels"], json({{"app.kubernetes.io/managed-by", "understudy"},
                                              {"velero.kubevirt.io/clear-mac-address", "true"},
                                              {"velero.kubevirt.io/generate-new-firmware-uuid", "true"}}));
  EXPECT_EQ(test["spec"]["existingResourcePolicy"], "update");
  EXPECT_EQ(test["spec"]["namespaceMapping"], json({{"shop", "shop-test"}}));
}

TEST(RestoreManifestTest, ARestoreIsRecognisedThoughVeleroAddedToIt) {
  json restore = RestoreManifest(Spec(), "adp");
  restore["spec"]["excludedResources"].push_back("nodes");
  restore["spec"]["scheduleName"] = "nightly";
  restore["status"] = {{"phase", "InProgress"}};
  EXPECT_TRUE(IsOf(restore, Spec()));
  RestoreSpec reordered = Spec();
  reordered.included_namespaces = {"bank", "shop"};
  EXPECT_TRUE(IsOf(restore, reordered));
  RestoreSpec other = Spec();
  other.included_namespaces.pop_back();
  EXPECT_FALSE(IsOf(restore, other));
  other = Spec();
  other.backup_name = "weekly";
  EXPECT_FALSE(IsOf(restore, other));
  other = Spec();
  other.clear_mac_address = true;
  EXPECT_FALSE(IsOf(restore, other));
  restore["metadata"]["labels"].erase("app.kubernetes.io/managed-by");
  EXPECT_FALSE(IsOf(restore, Spec()));
  EXPECT_FALSE(IsOf(json(), Spec()));
}

TEST(RestoreResultTest, WhatVeleroSaysIsTaken) {
  const RestoreResult result = ResultOf({{"status",
                                          {{"phase", "PartiallyFailed"},
                                           {"errors", 2},
                                           {"warnings", 5},
                                           {"startTimestamp", "2026-11-29T22:00:00Z"},
                                           {"completionTimestamp", "2026-11-29T22:03:00Z"},
                                           {"progress", {{"itemsRestored", 40}, {"totalItems", 42}}}}}});
  EXPECT_TRUE(result.Ended());
  EXPECT_FALSE(result.Completed());
  EXPECT_EQ(result.errors, 2);
  EXPECT_EQ(result.warnings, 5);
  EXPECT_EQ(result.items_restored, 40);
  EXPECT_EQ(result.total_items, 42);
  EXPECT_EQ(result.completed_at - result.started_at, absl::Minutes(3));
  EXPECT_EQ(Describe(result), "PartiallyFailed, 40 of 42 items, 2 errors and 5 warnings");
}

TEST(RestoreResultTest, ReasonsAreTold) {
  EXPECT_THAT(Describe(ResultOf({{"status", {{"phase", "FailedValidation"}, {"validationErrors", {"no backup", 7}}}}})),
              HasSubstr("no backup"));
  EXPECT_THAT(Describe(ResultOf({{"status", {{"phase", "Failed"}, {"failureReason", "error getting \x1b[31m"}}}})),
              HasSubstr("error getting \\x1b[31m"));
  EXPECT_THAT(Describe(ResultOf(json::object())), HasSubstr("not looked at"));
  EXPECT_EQ(ResultOf({{"status", {{"errors", -1}, {"progress", "none"}, {"validationErrors", "x"}}}}).errors, 0);
}

TEST(RestoreResultTest, OnlyFourPhasesAreAnEnd) {
  const auto ended = [](const char* phase) { return ResultOf({{"status", {{"phase", phase}}}}).Ended(); };
  EXPECT_TRUE(ended("Completed") && ended("PartiallyFailed") && ended("Failed") && ended("FailedValidation"));
  for (const char* phase : {"", "New", "InProgress", "WaitingForPluginOperations", "Finalizing",
                            "WaitingForPluginOperationsPartiallyFailed", "FinalizingPartiallyFailed"}) {
    EXPECT_FALSE(ended(phase)) << phase;
  }
}

TEST(MemoryRestoresTest, CreatingIsIdempotentByNameAndTheStoryIsTold) {
  tests::MemoryRestores restores;
  EXPECT_TRUE(absl::IsDeadlineExceeded(restores.WaitForBackup("nightly", absl::Seconds(1), {})));
  restores.AddBackup("nightly");
  EXPECT_EQ(restores.WaitForBackup("nightly", absl::Seconds(1), {}), absl::OkStatus());
  int created = 0;
  restores.OnCreate([&](const RestoreSpec&) { ++created; });
  EXPECT_EQ(restores.Create(Spec()), absl::OkStatus());
  EXPECT_EQ(restores.Create(Spec()), absl::OkStatus());
  EXPECT_EQ(created, 1);
  RestoreSpec other = Spec();
  other.backup_name = "weekly";
  EXPECT_TRUE(absl::IsAlreadyExists(restores.Create(other)));
  std::vector<std::string> phases;
  const auto end = restores.WaitForEnd("run-7", absl::Seconds(1), {},
                                       [&](const RestoreResult& result) { phases.push_back(result.phase); });
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->Completed());
  EXPECT_THAT(phases, ElementsAre("InProgress", "Completed"));
  EXPECT_EQ(restores.Delete("run-7"), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(restores.Get("run-7").status()));
}

}  // namespace
}  // namespace understudy::control
