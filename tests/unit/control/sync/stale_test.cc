// Which deletions at DR pass, as a decision on two listings.
#include "control/sync/stale.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::control {
namespace {

using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr ObjectKind kAllKinds[] = {ObjectKind::kPersistentVolume, ObjectKind::kPersistentVolumeClaim,
                                    ObjectKind::kVolumeSnapshotContent, ObjectKind::kVolumeSnapshot};

ObjectKey Claim(const std::string& of_namespace, int i) {
  return {ObjectKind::kPersistentVolumeClaim, of_namespace, "claim-" + std::to_string(i)};
}

json Made() {
  return {{"metadata",
           {{"labels", {{"app.kubernetes.io/managed-by", "understudy"}}},
            {"annotations", {{"understudy.io/source-uid", "u"}}}}}};
}

// Listings of the whole cluster: `primary` has the claims from `first` on, DR all `count`.
struct Two {
  Listing primary;
  Listing dr;
};
Two Claims(int count, int first) {
  Two two;
  two.primary.cluster = "cluster-1";
  for (const ObjectKind kind : kAllKinds) {
    two.primary.lists.push_back({.cluster = "primary", .kind = kind});
    two.dr.lists.push_back({.cluster = "dr", .kind = kind});
  }
  for (int i = 0; i < count; ++i) {
    two.dr.objects[Claim("shop", i)] = Made();
    if (i < first) continue;
    two.primary.objects[Claim("shop", i)] = {{"metadata", {{"uid", "u"}}}};
    ++two.primary.lists[1].items;
  }
  return two;
}

TEST(StaleTest, AShareUpToTheLimitGoesAndAboveItNothing) {
  const StaleOptions options{.enabled = true, .max_fraction = 0.25, .min_objects = 5};
  Two two = Claims(40, 10);
  EXPECT_EQ(PlanCleaning(two.primary, two.dr, {}, {}, options).cleaning.state, CleaningState::kDone);
  two = Claims(40, 11);
  const StalePlan held = PlanCleaning(two.primary, two.dr, {}, {}, options);
  EXPECT_EQ(held.cleaning.state, CleaningState::kHeld);
  EXPECT_THAT(held.cleaning.reason, HasSubstr("11 of 40 objects"));
  EXPECT_EQ(held.cleaning.stale, 11U);
  two = Claims(5, 4);
  EXPECT_EQ(PlanCleaning(two.primary, two.dr, {}, {}, options).cleaning.state, CleaningState::kDone)
      << "fewer than five";
  two = Claims(40, 39);
  EXPECT_EQ(PlanCleaning(two.primary, two.dr, {}, {}, {.enabled = true, .max_fraction = 1}).cleaning.state,
            CleaningState::kDone);
}

TEST(StaleTest, WhatBelongsToAPromotedVolumeNeverGoes) {
  Two two = Claims(8, 4);
  const auto bind = [&two](int i, const std::string& volume, const std::string& pair) {
    json& claim = two.dr.objects[Claim("shop", i)];
    claim["spec"]["volumeName"] = volume;
    claim["metadata"]["annotations"]["understudy.io/pair"] = pair;
  };
  bind(0, "pv-live", "east");
  bind(1, "pv-live", "west");  // another pair's volume of that name
  bind(2, "pv-other", "east");
  const LiveVolumes live{.states = {{{"east", "pv-live"}, "active"}, {{"east", "claim-3"}, "active"}}, .known = {}};
  const StalePlan plan = PlanCleaning(two.primary, two.dr, {}, live, {.enabled = true, .max_fraction = 1});
  EXPECT_EQ(plan.cleaning.state, CleaningState::kDone);
  EXPECT_EQ(plan.cleaning.stale, 3U);
  for (const StaleObject& object : plan.objects) EXPECT_NE(object.key, Claim("shop", 0));
  ASSERT_EQ(plan.left_alone.size(), 1U);
  EXPECT_EQ(plan.left_alone[0].key, Claim("shop", 0));
  EXPECT_THAT(plan.left_alone[0].reason, HasSubstr("'pv-live' is active"));
}

TEST(StaleTest, EveryKindIsKnownByItsVolume) {
  Two two = Claims(0, 0);
  const ObjectKey keys[] = {{ObjectKind::kPersistentVolume, "", "data"},
                            {ObjectKind::kPersistentVolumeClaim, "shop", "claim"},
                            {ObjectKind::kVolumeSnapshotContent, "", "data"},
                            {ObjectKind::kVolumeSnapshot, "shop", "snapshot"}};
  for (const ObjectKey& key : keys) two.dr.objects[key] = Made();
  two.dr.objects[keys[0]]["spec"]["claimRef"] = {{"namespace", "shop"}, {"name", "claim"}};
  two.dr.objects[keys[1]]["spec"]["volumeName"] = "data";
  two.dr.objects[keys[2]]["spec"]["volumeSnapshotRef"] = {{"namespace", "shop"}, {"name", "snapshot"}};
  two.dr.objects[keys[3]]["spec"]["source"]["volumeSnapshotContentName"] = "data";
  const LiveVolumes live{.states = {{{"east", "data"}, "demoting"}}, .known = {}};
  const StalePlan plan = PlanCleaning(two.primary, two.dr, {}, live, {.enabled = true, .max_fraction = 1});
  EXPECT_EQ(plan.left_alone.size(), 4U) << "of a pair that the object doesn't name, too";
  EXPECT_TRUE(plan.objects.empty());
  EXPECT_EQ(plan.cleaning.state, CleaningState::kNothing) << "nothing would go, so nothing is held back";
}

TEST(StaleTest, NothingGoesWhileItIsntKnownWhatIsPromoted) {
  const LiveVolumes unknown{.states = {}, .known = absl::UnavailableError("pair east: connection refused")};
  Two two = Claims(8, 1);
  const StalePlan plan = PlanCleaning(two.primary, two.dr, {}, unknown, {.enabled = true, .max_fraction = 1});
  EXPECT_EQ(plan.cleaning.state, CleaningState::kHeld);
  EXPECT_THAT(plan.cleaning.reason, HasSubstr("pair east: connection refused"));
  two = Claims(8, 0);
  EXPECT_EQ(PlanCleaning(two.primary, two.dr, {}, unknown, {}).cleaning.state, CleaningState::kNothing);
}

TEST(StaleTest, AnEmptyListNeverEmptiesDr) {
  const Two two = Claims(1, 1);
  const StalePlan plan = PlanCleaning(two.primary, two.dr, {}, {}, {.enabled = true, .max_fraction = 1});
  EXPECT_EQ(plan.cleaning.state, CleaningState::kHeld);
  EXPECT_THAT(plan.cleaning.reason, HasSubstr("lists no PersistentVolumeClaim, and DR has 1"));
}

TEST(StaleTest, AnEmptyNamespaceHoldsCleaningBack) {
  Two two = Claims(4, 0);
  two.primary.lists = {
      {.cluster = "primary", .kind = ObjectKind::kPersistentVolumeClaim, .namespace_name = "shop", .items = 4},
      {.cluster = "primary", .kind = ObjectKind::kPersistentVolumeClaim, .namespace_name = "bank"}};
  two.dr.objects[Claim("bank", 1)] = Made();
  const StalePlan plan = PlanCleaning(two.primary, two.dr, {"shop", "bank"}, {}, {});
  EXPECT_EQ(plan.cleaning.state, CleaningState::kHeld);
  EXPECT_THAT(plan.cleaning.reason, HasSubstr("in namespace bank"));
}

TEST(StaleTest, IncompleteListsOfEitherSideHoldCleaningBackAlsoWhenNothingSeemsStale) {
  Two two = Claims(4, 0);
  two.primary.lists[3].error = "HTTP 500";
  EXPECT_EQ(PlanCleaning(two.primary, two.dr, {}, {}, {}).cleaning.state, CleaningState::kHeld);
  two = Claims(4, 0);
  two.dr.lists[0].error = "HTTP 500";
  EXPECT_EQ(PlanCleaning(two.primary, two.dr, {}, {}, {}).cleaning.state, CleaningState::kHeld);
}

TEST(StaleTest, AKindThatThePrimaryDoesntServeIsLeftAloneAndHoldsNothingBack) {
  Two two = Claims(40, 1);
  two.primary.lists[3].served = false;
  two.dr.objects[{ObjectKind::kVolumeSnapshot, "shop", "nightly"}] = Made();
  const StalePlan plan = PlanCleaning(two.primary, two.dr, {}, {}, {});
  EXPECT_EQ(plan.cleaning.state, CleaningState::kDone);
  ASSERT_EQ(plan.objects.size(), 1U);
  EXPECT_EQ(plan.objects[0].key, Claim("shop", 0));
}

TEST(StaleTest, VolumesBelongToTheNamespaceOfTheirClaim) {
  Two two = Claims(40, 0);
  two.primary.lists[0].items = 1;
  json volume = Made();
  volume["spec"]["claimRef"] = {{"namespace", "bank"}, {"name", "x"}};
  two.dr.objects[{ObjectKind::kPersistentVolume, "", "of-bank"}] = volume;
  EXPECT_EQ(PlanCleaning(two.primary, two.dr, {"shop"}, {}, {}).cleaning.state, CleaningState::kNothing);
  volume["spec"]["claimRef"]["namespace"] = "shop";
  two.dr.objects[{ObjectKind::kPersistentVolume, "", "of-shop"}] = volume;
  const StalePlan plan = PlanCleaning(two.primary, two.dr, {"shop"}, {}, {});
  ASSERT_EQ(plan.objects.size(), 1U);
  EXPECT_EQ(plan.objects[0].key.name, "of-shop");
}

TEST(StaleTest, TheClusterIsRecognisedByItsUidAndByWhatIsStillThere) {
  const auto plan = [](const Two& two, const std::string& known, bool accept = false) {
    return PlanCleaning(two.primary, two.dr, {}, {}, {.known_cluster = known, .accept_cluster = accept});
  };
  const Two one_of_two_left = Claims(2, 1);
  EXPECT_EQ(plan(one_of_two_left, "").cleaning.state, CleaningState::kDone);
  EXPECT_EQ(plan(one_of_two_left, "").primary_cluster, "cluster-1");
  EXPECT_EQ(plan(one_of_two_left, "cluster-1").cleaning.state, CleaningState::kDone);
  EXPECT_EQ(plan(one_of_two_left, "cluster-0").cleaning.state, CleaningState::kHeld);
  EXPECT_EQ(plan(one_of_two_left, "cluster-0").primary_cluster, "");
  EXPECT_EQ(plan(one_of_two_left, "cluster-0", true).cleaning.state, CleaningState::kDone);
  EXPECT_EQ(plan(one_of_two_left, "cluster-0", true).primary_cluster, "cluster-1");
  EXPECT_EQ(plan(Claims(2, 0), "cluster-0").cleaning.state, CleaningState::kHeld) << "it is told at once";
  EXPECT_EQ(plan(Claims(0, 0), "").primary_cluster, "cluster-1") << "the first run of all";
  // Objects of those names that are others.
  Two made_anew = Claims(3, 0);
  for (auto& [key, object] : made_anew.primary.objects) object["metadata"]["uid"] = "another";
  EXPECT_EQ(plan(made_anew, "").primary_cluster, "");
  Two incomplete = Claims(2, 1);
  incomplete.primary.lists[3].error = "HTTP 500";
  EXPECT_EQ(plan(incomplete, "").primary_cluster, "");
}

TEST(StaleTest, TurnedOffItOnlyCounts) {
  const Two two = Claims(4, 1);
  const StalePlan plan = PlanCleaning(two.primary, two.dr, {}, {}, {.enabled = false});
  EXPECT_EQ(plan.cleaning.state, CleaningState::kOff);
  EXPECT_EQ(plan.cleaning.stale, 1U);
}

}  // namespace
}  // namespace understudy::control
