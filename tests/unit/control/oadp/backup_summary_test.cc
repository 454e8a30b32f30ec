#include "control/oadp/backup_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/support/velero_archive.h"

namespace understudy::control {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

BackupSummary Backup(const std::string& name, int age_hours, const std::string& phase = "Completed") {
  BackupSummary backup;
  backup.name = name;
  backup.phase = phase;
  backup.started_at = kNow - absl::Hours(age_hours);
  backup.expires_at = kNow + absl::Hours(100);
  return backup;
}

std::string TextOf(const absl::Status& status) {
  return std::string(status.message());
}

TEST(BackupSummary, IsReadFromItsDescription) {
  const json description = tests::MakeBackupDescription(
      "nightly", {{"spec", {{"includedNamespaces", {"shop", "bank"}}, {"excludedNamespaces", nullptr}}},
                  {"status", {{"phase", "PartiallyFailed"}, {"errors", 3}, {"warnings", 1}}}});
  const auto backup = ParseBackupSummary("nightly", description.dump());
  ASSERT_TRUE(backup.ok()) << backup.status();
  EXPECT_EQ(backup->name, "nightly");
  EXPECT_EQ(backup->phase, "PartiallyFailed");
  EXPECT_EQ(absl::FormatTime(backup->started_at, absl::UTCTimeZone()), "2026-11-01T02:00:00+00:00");
  EXPECT_EQ(*backup->completed_at - backup->started_at, absl::Minutes(3));
  EXPECT_TRUE(backup->expires_at.has_value());
  EXPECT_THAT(backup->included_namespaces, ElementsAre("shop", "bank"));
  EXPECT_THAT(backup->excluded_namespaces, IsEmpty());
  EXPECT_EQ(backup->errors, 3);
  EXPECT_EQ(backup->warnings, 1);
  EXPECT_EQ(backup->items, 100);
}

TEST(BackupSummary, OneThatIsStillBeingMadeHasNoTimes) {
  const auto backup = ParseBackupSummary("b", R"({"kind":"Backup","metadata":{"name":"b"},"spec":{},"status":{}})");
  ASSERT_TRUE(backup.ok()) << backup.status();
  EXPECT_EQ(backup->started_at, absl::InfinitePast());
  EXPECT_FALSE(backup->completed_at.has_value());
}

TEST(BackupSummary, ADescriptionOfSomethingElseIsRefused) {
  for (const char* const text :
       {"", "{", "[]", "null", R"({"kind":"Restore","metadata":{"name":"b"}})",
        R"({"kind":"Backup","metadata":{"name":"other"}})", R"({"kind":"Backup","metadata":{"name":"b"},"status":[]})",
        R"({"kind":"Backup","metadata":{"name":"b"},"status":{"phase":7}})",
        R"({"kind":"Backup","metadata":{"name":"b"},"status":{"errors":-1}})",
        R"({"kind":"Backup","metadata":{"name":"b"},"status":{"startTimestamp":"yesterday"}})",
        R"({"kind":"Backup","metadata":{"name":"b"},"spec":{"includedNamespaces":"all"}})",
        R"({"kind":"Backup","metadata":{"name":"b"},"spec":{"excludedNamespaces":[1]}})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseBackupSummary("b", text).status())) << text;
  }
}

TEST(BackupSummary, IncludesNamespacesAsVeleroDoes) {
  BackupSummary backup;
  EXPECT_TRUE(IncludesNamespace(backup, "shop"));
  backup.included_namespaces = {"*"};
  EXPECT_TRUE(IncludesNamespace(backup, "shop"));
  backup.excluded_namespaces = {"shop"};
  EXPECT_FALSE(IncludesNamespace(backup, "shop"));
  EXPECT_TRUE(IncludesNamespace(backup, "bank"));
  backup.included_namespaces = {"bank", "shop"};
  EXPECT_FALSE(IncludesNamespace(backup, "shop"));
  EXPECT_TRUE(IncludesNamespace(backup, "bank"));
  EXPECT_FALSE(IncludesNamespace(backup, "shopping"));
  backup.included_namespaces = {"prod-*"};
  EXPECT_TRUE(IncludesNamespace(backup, "prod-web"));
  EXPECT_FALSE(IncludesNamespace(backup, "test-web"));
}

TEST(ChooseBackup, TakesTheLatestThatIsCompleted) {
  const auto chosen = ChooseBackup({Backup("old", 30), Backup("new", 2), Backup("failed", 1, "Failed"),
                                    Backup("running", 0, "InProgress"), Backup("older", 60)},
                                   {}, kNow);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->name, "new");
  ASSERT_EQ(chosen->notes.size(), 1);
  EXPECT_THAT(chosen->notes[0], AllOf(HasSubstr("running is InProgress"), HasSubstr("failed is Failed")));
}

TEST(ChooseBackup, APartlyFailedOneCountsOnlyWhereThatIsAccepted) {
  const std::vector<BackupSummary> backups = {Backup("whole", 9), Backup("part", 1, "PartiallyFailed")};
  EXPECT_EQ(ChooseBackup(backups, {}, kNow)->name, "whole");
  const auto accepted = ChooseBackup(backups, {.accept_partially_failed = true}, kNow);
  EXPECT_EQ(accepted->name, "part");
  EXPECT_THAT(accepted->notes, ElementsAre(HasSubstr("PartiallyFailed")));
}

TEST(ChooseBackup, ExpiredOnesAndThoseThatAreBeingDeletedAreNeverTheLatest) {
  BackupSummary expired = Backup("expired", 1);
  expired.expires_at = kNow;
  EXPECT_EQ(ChooseBackup({expired, Backup("going", 2, "Deleting"), Backup("good", 3)}, {}, kNow)->name, "good");
}

TEST(ChooseBackup, AnExpiredOneMayBeNamedButNotOneThatIsBeingDeleted) {
  BackupSummary expired = Backup("expired", 1);
  expired.expires_at = kNow - absl::Hours(1);
  const auto chosen = ChooseBackup({expired}, {.name = "expired"}, kNow);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_THAT(chosen->notes, ElementsAre(HasSubstr("has expired")));
  const absl::Status going = ChooseBackup({Backup("going", 2, "Deleting")}, {.name = "going"}, kNow).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(going));
  EXPECT_THAT(TextOf(going), AllOf(HasSubstr("being deleted"), HasSubstr("--backup")));
}

TEST(ChooseBackup, ANamedOneIsRefusedWithTheReason) {
  const auto error = [](BackupSummary backup, std::vector<std::string> namespaces) {
    BackupChoice choice{.name = backup.name, .must_include_namespaces = std::move(namespaces)};
    return ChooseBackup({backup, Backup("other", 5)}, choice, kNow).status();
  };
  EXPECT_THAT(TextOf(error(Backup("b", 1, "InProgress"), {})), HasSubstr("is InProgress, not Completed"));
  EXPECT_THAT(TextOf(error(Backup("b", 1, "PartiallyFailed"), {})), HasSubstr("--accept-partially-failed"));
  BackupSummary narrow = Backup("b", 1);
  narrow.included_namespaces = {"bank"};
  EXPECT_THAT(TextOf(error(narrow, {"bank", "shop"})),
              AllOf(HasSubstr("doesn't hold namespace shop"), HasSubstr("bank")));
  BackupSummary without = Backup("b", 1);
  without.excluded_namespaces = {"shop"};
  EXPECT_THAT(TextOf(error(without, {"shop"})), HasSubstr("all without shop"));
  BackupSummary broken{.name = "b", .problem = "it is torn"};
  EXPECT_THAT(TextOf(error(broken, {})), HasSubstr("it is torn"));
}

TEST(ChooseBackup, TheLatestHasToHoldTheNamespaces) {
  BackupSummary of_bank = Backup("of-bank", 1);
  of_bank.included_namespaces = {"bank"};
  const auto chosen = ChooseBackup({of_bank, Backup("of-all", 9)}, {.must_include_namespaces = {"shop"}}, kNow);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->name, "of-all");
  EXPECT_THAT(chosen->notes, ElementsAre(HasSubstr("of-bank doesn't hold namespace shop")));
}

TEST(BackupSummary, KnowsKindsByAnyNameThatVeleroTakes) {
  for (const char* const name : {"virtualmachines", "virtualmachines.kubevirt.io", "VirtualMachine", "vm", "*"}) {
    BackupSummary backup;
    backup.excluded_resources = {"secrets", name};
    EXPECT_FALSE(IncludesKind(backup, BackupKind::kVirtualMachine)) << name;
    backup.excluded_resources.clear();
    backup.included_resources = {"secrets", name};
    EXPECT_TRUE(IncludesKind(backup, BackupKind::kVirtualMachine)) << name;
  }
  BackupSummary other;
  other.excluded_resources = {"virtualmachineinstances"};
  EXPECT_TRUE(IncludesKind(other, BackupKind::kVirtualMachine));
  other.included_resources = {"pvc"};
  EXPECT_TRUE(IncludesKind(other, BackupKind::kClaim));
  EXPECT_FALSE(IncludesKind(other, BackupKind::kVolume));
  other.included_cluster_resources = {"persistentvolumes"};
  EXPECT_TRUE(IncludesKind(other, BackupKind::kVolume));
  other.include_cluster_resources = false;
  EXPECT_FALSE(IncludesKind(other, BackupKind::kVolume));
}

TEST(BackupSummary, ItsFiltersAreReadInBothWaysOfVelero) {
  const auto read = [](const json& spec) {
    auto backup = ParseBackupSummary("b", tests::MakeBackupDescription("b", {{"spec", spec}}).dump());
    EXPECT_TRUE(backup.ok()) << backup.status();
    return *std::move(backup);
  };
  EXPECT_THAT(read({{"excludedResources", {"vm"}}}).excluded_resources, ElementsAre("vm"));
  EXPECT_THAT(read({{"includedNamespaceScopedResources", {"configmaps"}}}).included_resources,
              ElementsAre("configmaps"));
  EXPECT_THAT(read({{"excludedNamespaceScopedResources", {"vm"}}}).excluded_resources, ElementsAre("vm"));
  EXPECT_THAT(read({{"includedClusterScopedResources", {"pv"}}}).included_cluster_resources, ElementsAre("pv"));
  EXPECT_FALSE(IncludesKind(read({{"excludedClusterScopedResources", {"*"}}}), BackupKind::kVolume));
  EXPECT_EQ(read({{"includeClusterResources", false}}).include_cluster_resources, false);
  EXPECT_TRUE(read({{"labelSelector", {{"matchLabels", {{"app", "web"}}}}}}).by_labels);
  EXPECT_TRUE(read({{"orLabelSelectors", {{{"matchLabels", {{"app", "web"}}}}}}}).by_labels);
  EXPECT_FALSE(read({{"labelSelector", {{"matchLabels", json::object()}}}, {"orLabelSelectors", nullptr}}).by_labels);
}

TEST(ChooseBackup, OneWithoutMachinesIsTakenOnlyWhenItIsNamed) {
  BackupSummary narrow = Backup("narrow", 1);
  narrow.included_resources = {"configmaps", "secrets"};
  const auto latest = ChooseBackup({narrow, Backup("whole", 9)}, {}, kNow);
  ASSERT_TRUE(latest.ok()) << latest.status();
  EXPECT_EQ(latest->name, "whole");
  EXPECT_THAT(latest->notes,
              ElementsAre(AllOf(HasSubstr("narrow holds no virtual machines"), HasSubstr("configmaps, secrets"))));
  const absl::Status none = ChooseBackup({narrow}, {}, kNow).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(none));
  EXPECT_THAT(TextOf(none), AllOf(HasSubstr("holds no virtual machines"), HasSubstr("--backup")));
  const auto named = ChooseBackup({narrow, Backup("whole", 9)}, {.name = "narrow"}, kNow);
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_THAT(named->notes, ElementsAre(HasSubstr("no virtual machines"), HasSubstr("no PersistentVolumeClaims"),
                                        HasSubstr("no PersistentVolumes"), HasSubstr("some kinds only")));
}

TEST(ChooseBackup, WhatItWasMadeWithoutIsTold) {
  const auto notes = [](const std::function<void(BackupSummary&)>& narrow) {
    BackupSummary backup = Backup("b", 1);
    narrow(backup);
    return ChooseBackup({backup}, {}, kNow)->notes;
  };
  EXPECT_THAT(notes([](BackupSummary& b) { b.by_labels = true; }), ElementsAre(HasSubstr("label selector")));
  EXPECT_THAT(notes([](BackupSummary& b) { b.include_cluster_resources = false; }),
              ElementsAre(AllOf(HasSubstr("holds no PersistentVolumes"), HasSubstr("DR's catalog"))));
  EXPECT_THAT(notes([](BackupSummary& b) {
                b.excluded_resources = {"pvc", "secrets", "services"};
              }),
              ElementsAre(HasSubstr("no PersistentVolumeClaims"), HasSubstr("without secrets, services")));
  EXPECT_THAT(notes([](BackupSummary& b) { b.included_resources = {"*"}; }), IsEmpty());
}

TEST(ChooseBackup, SaysWhatSpeaksAgainstEachOfTheNewest) {
  const absl::Status none = ChooseBackup({}, {}, kNow).status();
  EXPECT_TRUE(absl::IsNotFound(none));
  const absl::Status unknown = ChooseBackup({Backup("b", 1)}, {.name = "c\n"}, kNow).status();
  EXPECT_TRUE(absl::IsNotFound(unknown));
  EXPECT_THAT(TextOf(unknown), AllOf(HasSubstr("drctl failover backup list"), Not(HasSubstr("\n"))));
  const absl::Status unusable =
      ChooseBackup({Backup("a", 1, "Failed"), Backup("b", 2, "Failed"), Backup("c", 3, "Failed"),
                    Backup("d", 4, "Failed"), Backup("e", 5, "Failed")},
                   {}, kNow)
          .status();
  EXPECT_TRUE(absl::IsFailedPrecondition(unusable));
  EXPECT_THAT(TextOf(unusable), AllOf(HasSubstr("a is Failed"), HasSubstr("c is Failed"), HasSubstr("2 more")));
}

TEST(ChooseBackup, OneThatCantBeReadIsTold) {
  const BackupSummary broken{.name = "broken", .problem = "it is torn"};
  const auto chosen = ChooseBackup({broken, Backup("good", 1)}, {}, kNow);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->name, "good");
  EXPECT_THAT(chosen->notes, ElementsAre(HasSubstr("1 more can't be read")));
}

TEST(ChooseBackup, OfTwoThatWereStartedTogetherItIsTheSameEachTime) {
  EXPECT_EQ(ChooseBackup({Backup("a", 1), Backup("b", 1)}, {}, kNow)->name, "b");
  EXPECT_EQ(ChooseBackup({Backup("b", 1), Backup("a", 1)}, {}, kNow)->name, "b");
}

}  // namespace
}  // namespace understudy::control
