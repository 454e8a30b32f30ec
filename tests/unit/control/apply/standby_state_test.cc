#include "control/apply/standby_state.h"

#include <gtest/gtest.h>

namespace understudy::control {
namespace {

using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;

const ObjectKey kClaim{ObjectKind::kPersistentVolumeClaim, "shop", "db"};
const ObjectKey kVolume{ObjectKind::kPersistentVolume, "", "pv"};

model::CatalogEntry Wanted(const ObjectKey& key) {
  model::CatalogEntry entry;
  entry.key = key;
  entry.uid = "u1";
  return entry;
}

json Present(const std::string& phase, const std::string& uid = "u1", bool ours = true) {
  json object = {{"metadata", {{"annotations", {{"understudy.io/source-uid", uid}}}}}, {"status", {{"phase", phase}}}};
  if (ours) object["metadata"]["labels"] = {{"app.kubernetes.io/managed-by", "understudy"}};
  return object;
}

StandbyPhase PhaseOf(const ObjectKey& key, const json& present) {
  const StandbyObject judged = JudgeStandby(Wanted(key), &present);
  EXPECT_EQ(judged.reason.empty(), judged.phase == StandbyPhase::kApplied);
  return judged.phase;
}

TEST(StandbyStateTest, AnObjectIsAppliedWhenItIsOursOfThatObjectAndBound) {
  EXPECT_EQ(PhaseOf(kClaim, Present("Bound")), StandbyPhase::kApplied);
  EXPECT_EQ(PhaseOf(kVolume, Present("Available")), StandbyPhase::kApplied);
  EXPECT_EQ(PhaseOf(kVolume, Present("Released")), StandbyPhase::kApplied);
}

TEST(StandbyStateTest, AnObjectThatThePrimarysWasMadeFromIsAppliedWhenItIsBound) {
  model::CatalogEntry wanted = Wanted(kClaim);
  wanted.resource = Present("Bound", "made-at-dr").dump();
  json present = {{"metadata", {{"uid", "made-at-dr"}}}, {"status", {{"phase", "Bound"}}}};
  EXPECT_EQ(JudgeStandby(wanted, &present).phase, StandbyPhase::kApplied);
  present["status"]["phase"] = "Pending";
  EXPECT_EQ(JudgeStandby(wanted, &present).phase, StandbyPhase::kPending);
  present["metadata"]["uid"] = "somebody's";
  EXPECT_EQ(JudgeStandby(wanted, &present).phase, StandbyPhase::kFailed);
}

TEST(StandbyStateTest, ASnapshotIsAppliedWhenItsDriverCallsItReady) {
  for (const ObjectKey& key : {ObjectKey{ObjectKind::kVolumeSnapshot, "shop", "nightly"},
                               ObjectKey{ObjectKind::kVolumeSnapshotContent, "", "content-1"}}) {
    json present = Present("");
    EXPECT_EQ(PhaseOf(key, present), StandbyPhase::kPending);
    present["status"] = {{"readyToUse", false}, {"error", {{"message", "no such driver"}}}};
    EXPECT_EQ(JudgeStandby(Wanted(key), &present).reason, "isn't ready to use yet: no such driver");
    present["status"] = {{"readyToUse", true}};
    EXPECT_EQ(PhaseOf(key, present), StandbyPhase::kApplied);
  }
}

TEST(StandbyStateTest, WhatTimeMendsIsPending) {
  EXPECT_EQ(JudgeStandby(Wanted(kClaim), nullptr).phase, StandbyPhase::kPending);
  EXPECT_EQ(PhaseOf(kClaim, Present("Pending")), StandbyPhase::kPending);
  EXPECT_EQ(PhaseOf(kClaim, Present("Bound", "u0")), StandbyPhase::kPending);
  json terminating = Present("Bound");
  terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  EXPECT_EQ(PhaseOf(kClaim, terminating), StandbyPhase::kPending);
}

TEST(StandbyStateTest, WhatSomebodyHasToMendIsFailed) {
  EXPECT_EQ(PhaseOf(kClaim, Present("Lost")), StandbyPhase::kFailed);
  EXPECT_EQ(PhaseOf(kVolume, Present("Failed")), StandbyPhase::kFailed);
  EXPECT_EQ(PhaseOf(kClaim, Present("Bound", "u1", false)), StandbyPhase::kFailed);
}

TEST(StandbyStateTest, AllAreCountedAndTheWorstAreNamedFirst) {
  std::vector<model::CatalogEntry> wanted;
  PresentObjects present;
  for (int i = 0; i < 200; ++i) wanted.push_back(Wanted({ObjectKind::kPersistentVolume, "", std::to_string(i)}));
  present[wanted[0].key] = Present("Bound");
  present[wanted[199].key] = Present("Failed");
  const StandbyState state = CompareStandby(wanted, present);
  EXPECT_EQ(state.applied, 1U);
  EXPECT_EQ(state.pending, 198U);
  EXPECT_EQ(state.failed, 1U);
  ASSERT_EQ(state.problems.size(), StandbyState::kMaxProblems);
  EXPECT_EQ(state.problems[0].key, wanted[199].key);
}

}  // namespace
}  // namespace understudy::control
