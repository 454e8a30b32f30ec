// Rules files: what is read, and that each mistake names its line.
#include "core/config/rules_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string ErrorOf(const std::string& yaml) {
  const auto rules = ParseRules(yaml, "rules.yaml");
  EXPECT_TRUE(absl::IsInvalidArgument(rules.status())) << yaml;
  return std::string(MessageOf(rules.status()));
}

TEST(RulesFileTest, TheExampleIsReadWithEveryField) {
  const auto rules = ParseRules(std::string(ExampleRulesText()), "example");
  ASSERT_TRUE(rules.ok()) << rules.status();
  ASSERT_THAT(*rules, SizeIs(6));
  EXPECT_THAT((*rules)[0].when.namespaces, ElementsAre("sandbox-*", "scratch"));
  EXPECT_THAT((*rules)[0].actions, ElementsAre(RuleAction::kIgnore));
  const RuleCondition& when = (*rules)[1].when;
  EXPECT_THAT(when.kinds, ElementsAre(model::ObjectKind::kPersistentVolumeClaim));
  EXPECT_THAT(when.types, ElementsAre(model::EventType::kAdded));
  EXPECT_EQ(when.labels.at("app"), "database");
  EXPECT_THAT(when.storage_classes, ElementsAre("nfs-fast"));
  EXPECT_EQ(when.fields.at("status.phase"), "Bound");
  EXPECT_EQ((*rules)[2].when.fields.at("status.readyToUse"), "true");
  EXPECT_TRUE((*rules)[4].goes_on);
  EXPECT_FALSE((*rules)[5].goes_on);
}

TEST(RulesFileTest, TheBuiltInRulesAreGood) {
  EXPECT_THAT(BuiltInRules(), SizeIs(5));
}

TEST(RulesFileTest, MistakesNameTheirLine) {
  EXPECT_THAT(ErrorOf("rules:\n- name: a\n  whn: {}\n  do: [ignore]\n"),
              HasSubstr("rules.yaml:3: rules[0].whn: there is no such setting"));
  EXPECT_THAT(ErrorOf("rules:\n- name: a\n  do: [sync]\n"),
              HasSubstr("rules.yaml:3: rules[0].do[0]: 'sync': write sync_volume"));
  EXPECT_THAT(ErrorOf("rules:\n- name: a\n  when:\n    kind: [Pod]\n  do: [ignore]\n"),
              HasSubstr("rules.yaml:4: rules[0].when.kind[0]: unknown kind 'Pod'"));
  EXPECT_THAT(ErrorOf("rules:\n- name: a\n  when: {type: [GONE]}\n  do: [ignore]\n"), HasSubstr("rules.yaml:3"));
  EXPECT_THAT(ErrorOf("rules:\n- name: a\n"), HasSubstr("rules.yaml:2: rules[0].do: is missing"));
  EXPECT_THAT(ErrorOf("rules: []\n"), HasSubstr("write at least one"));
  EXPECT_THAT(ErrorOf("rules:\n- name: a\n  do: []\n"), HasSubstr("rules.yaml:3: rules[0].do"));
  EXPECT_THAT(ErrorOf("rules:\n- name: a\n  when: {type: [ADDED]}\n  do: [ignore]\n- name: a\n  do: [ignore]\n"),
              HasSubstr("rules.yaml:5: rules[1].name: 'a' is rules[0], too"));
}

TEST(RulesFileTest, WhatCanNeverBeDoneIsAMistake) {
  EXPECT_THAT(ErrorOf("rules:\n- name: a\n  when: {type: [DELETED]}\n  do: [sync_volume]\n"),
              HasSubstr("rules.yaml:4: rules[0].do: sync_volume fits none"));
  EXPECT_THAT(ErrorOf("rules:\n- name: a\n  when: {kind: [PersistentVolume]}\n  do: [sync_snapshot]\n"),
              HasSubstr("sync_snapshot fits none"));
  EXPECT_THAT(ErrorOf("rules:\n- name: a\n  do: [ignore, forward]\n"), HasSubstr("ignore stands alone"));
  EXPECT_THAT(ErrorOf("rules:\n- name: a\n  do: [ignore]\n- name: b\n  do: [forward]\n"),
              HasSubstr("rules.yaml:2: rules[0]: holds for every event, so 'b'"));
  EXPECT_TRUE(
      ParseRules("rules:\n- name: a\n  do: [forward]\n  continue: true\n- name: b\n  do: [ignore]\n", "r").ok());
}

}  // namespace
}  // namespace understudy::config
