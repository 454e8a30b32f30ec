// rules_file.h: the rules, as a file writes them: which object event leads to which action.
//
// docs/reference/rules.md is generated from here. Matching is agent-primary/rules/rule_set.h's.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/config/visitor.h"
#include "core/model/object.h"

namespace understudy::config {

// An action is carried out where it fits the event: sync_… on ADDED and MODIFIED, delete_… on DELETED; …_volume for
// PersistentVolumes and claims, …_snapshot for VolumeSnapshots and their contents.
enum class RuleAction { kSyncVolume, kDeleteVolume, kSyncSnapshot, kDeleteSnapshot, kForward, kIgnore };
// "sync_volume", …: as the file writes them.
[[nodiscard]] std::string_view ToString(RuleAction action);
[[nodiscard]] absl::StatusOr<RuleAction> ParseRuleAction(std::string_view text);
// Pure.
[[nodiscard]] bool Fits(RuleAction action, model::ObjectKind kind, model::EventType type);

// All that is written must hold; an empty member holds for every event.
struct RuleCondition {
  std::vector<model::ObjectKind> kinds;
  std::vector<model::EventType> types;
  std::vector<std::string> namespaces;  // globs: * and ?
  std::map<std::string, std::string> labels;
  std::vector<std::string> storage_classes;
  std::map<std::string, std::string> fields;  // path in the object to the value's text; empty: isn't there
};

struct Rule {
  std::string name;
  RuleCondition when;
  std::vector<RuleAction> actions;
  bool goes_on = false;  // rules after it are looked at, too
};

// Errors as of ReadYamlFile.
[[nodiscard]] absl::StatusOr<std::vector<Rule>> LoadRulesFile(const std::string& file);
// `name` stands for the file in messages.
[[nodiscard]] absl::StatusOr<std::vector<Rule>> ParseRules(const std::string& yaml, const std::string& name);

// What is done without a rules file, in the same syntax.
[[nodiscard]] std::string_view BuiltInRulesText();
[[nodiscard]] std::vector<Rule> BuiltInRules();

// A rules file that shows every field.
[[nodiscard]] std::string_view ExampleRulesText();

// The declarations alone, for the reference page.
void DescribeRules(Visitor& v);

}  // namespace understudy::config
