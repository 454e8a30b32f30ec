#include "agent-primary/rules/rule_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nlohmann/json.hpp"

namespace understudy::primary {
namespace {

using model::EventType;
using model::ObjectKind;
using nlohmann::json;

RuleSet Rules(const std::string& yaml) {
  auto rules = config::ParseRules(yaml, "test");
  EXPECT_TRUE(rules.ok()) << rules.status();
  return RuleSet(*std::move(rules));
}

model::ObjectEvent Event(EventType type, ObjectKind kind, const json& object, const std::string& namespace_name = "") {
  return {
      .type = type, .key = {kind, namespace_name, "x"}, .resource = object.dump(), .event_id = "e", .observed_at = {}};
}

// The table of the built-in rules.
TEST(RuleSetTest, WithoutAFileEverythingIsDoneAndForwarded) {
  const RuleSet rules(config::BuiltInRules());
  const std::pair<ObjectKind, const char*> kinds[] = {{ObjectKind::kPersistentVolume, "volumes"},
                                                      {ObjectKind::kPersistentVolumeClaim, "volumes"},
                                                      {ObjectKind::kVolumeSnapshot, "snapshots"},
                                                      {ObjectKind::kVolumeSnapshotContent, "snapshots"}};
  for (const auto& [kind, name] : kinds) {
    for (const EventType type : {EventType::kAdded, EventType::kModified, EventType::kDeleted}) {
      const RuleMatch match = rules.Match(Event(type, kind, json::object()));
      EXPECT_TRUE(match.act);
      EXPECT_TRUE(match.forward);
      EXPECT_EQ(match.names, std::string("forward,") + (type == EventType::kDeleted ? "deleted-" : "") + name);
    }
  }
}

TEST(RuleSetTest, TheFirstThatHoldsCountsUnlessItGoesOn) {
  const RuleSet rules = Rules(
      "rules:\n"
      "- {name: a, when: {type: [ADDED]}, do: [forward], continue: true}\n"
      "- {name: b, when: {namespace: [shop]}, do: [sync_volume]}\n"
      "- {name: c, do: [ignore]}\n");
  const auto claim = [&](EventType type, const char* where) {
    return rules.Match(Event(type, ObjectKind::kPersistentVolumeClaim, json::object(), where));
  };
  EXPECT_EQ(claim(EventType::kAdded, "shop").names, "a,b");
  EXPECT_TRUE(claim(EventType::kAdded, "shop").act);
  EXPECT_TRUE(claim(EventType::kAdded, "shop").forward);
  EXPECT_EQ(claim(EventType::kModified, "bank").names, "c");
  EXPECT_FALSE(claim(EventType::kModified, "bank").act);
  EXPECT_FALSE(claim(EventType::kDeleted, "shop").act) << "sync_volume doesn't fit a deletion";
}

TEST(RuleSetTest, NoRuleMeansNothing) {
  const RuleMatch match = Rules("rules: [{name: a, when: {type: [ADDED]}, do: [forward]}]")
                              .Match(Event(EventType::kDeleted, ObjectKind::kPersistentVolume, json::object()));
  EXPECT_EQ(match.names, "");
  EXPECT_FALSE(match.act || match.forward);
}

TEST(RuleSetTest, EveryConditionMustHold) {
  const RuleSet rules = Rules(
      "rules: [{name: a, when: {kind: [PersistentVolume], namespace: ['shop-*'], labels: {tier: gold},"
      " storage_class: [nfs, fast], fields: {status.phase: Bound, spec.ready: true,"
      " /metadata/annotations/a.b~1c: '1', spec.none: ''}}, do: [forward]}]");
  const json good = {{"metadata", {{"labels", {{"tier", "gold"}, {"x", "y"}}}, {"annotations", {{"a.b/c", 1}}}}},
                     {"spec", {{"claimRef", {{"namespace", "shop-1"}}}, {"storageClassName", "fast"}, {"ready", true}}},
                     {"status", {{"phase", "Bound"}}}};
  const auto holds = [&](const json& object) {
    return rules.Match(Event(EventType::kAdded, ObjectKind::kPersistentVolume, object)).forward;
  };
  EXPECT_TRUE(holds(good));
  const std::pair<const char*, json> changes[] = {{"/spec/claimRef/namespace", "bank"},
                                                  {"/metadata/labels/tier", "silver"},
                                                  {"/spec/storageClassName", "slow"},
                                                  {"/status/phase", "Released"},
                                                  {"/spec/ready", false},
                                                  {"/metadata/annotations/a.b~1c", 2},
                                                  {"/spec/none", "there"}};
  for (const auto& [pointer, value] : changes) {
    json bad = good;
    bad[json::json_pointer(pointer)] = value;
    EXPECT_FALSE(holds(bad)) << pointer;
  }
  EXPECT_FALSE(holds(json::object()));
}

TEST(RuleSetTest, ClassesAndNamespacesAreFoundWhereEachKindHasThem) {
  const RuleSet rules = Rules("rules: [{name: a, when: {namespace: [shop], storage_class: [c]}, do: [forward]}]");
  const auto holds = [&](ObjectKind kind, const json& object, const char* where = "") {
    return rules.Match(Event(EventType::kAdded, kind, object, where)).forward;
  };
  EXPECT_TRUE(holds(ObjectKind::kVolumeSnapshotContent,
                    {{"spec", {{"volumeSnapshotRef", {{"namespace", "shop"}}}, {"volumeSnapshotClassName", "c"}}}}));
  EXPECT_TRUE(holds(ObjectKind::kVolumeSnapshot, {{"spec", {{"volumeSnapshotClassName", "c"}}}}, "shop"));
  EXPECT_TRUE(holds(ObjectKind::kPersistentVolumeClaim,
                    {{"metadata", {{"annotations", {{"volume.beta.kubernetes.io/storage-class", "c"}}}}}}, "shop"));
}

TEST(MatchesGlobTest, StarsAndQuestionMarks) {
  for (const char* const text : {"", "a", "abc", "shop-1"}) EXPECT_TRUE(MatchesGlob("*", text)) << text;
  EXPECT_TRUE(MatchesGlob("shop-*", "shop-"));
  EXPECT_TRUE(MatchesGlob("*-prod", "a-prod-prod"));
  EXPECT_TRUE(MatchesGlob("a?c*e", "abcde"));
  EXPECT_FALSE(MatchesGlob("shop", "shop-1"));
  EXPECT_FALSE(MatchesGlob("shop-?", "shop-"));
  EXPECT_FALSE(MatchesGlob("*-prod", "prod"));
  EXPECT_FALSE(MatchesGlob("", "a"));
  // As many stars as text: no blow-up.
  EXPECT_FALSE(MatchesGlob(std::string(200, '*') + "b", std::string(100'000, 'a')));
}

}  // namespace
}  // namespace understudy::primary
