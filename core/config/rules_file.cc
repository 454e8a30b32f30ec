#include "core/config/rules_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/base/log.h"
#include "core/config/yaml_reader.h"

namespace understudy::config {
namespace {

using model::EventType;
using model::ObjectKind;

constexpr std::array kAllKinds = {ObjectKind::kPersistentVolume, ObjectKind::kPersistentVolumeClaim,
                                  ObjectKind::kVolumeSnapshot, ObjectKind::kVolumeSnapshotContent};
constexpr std::array kAllTypes = {EventType::kAdded, EventType::kModified, EventType::kDeleted};
constexpr std::array kAllActions = {RuleAction::kSyncVolume,     RuleAction::kDeleteVolume, RuleAction::kSyncSnapshot,
                                    RuleAction::kDeleteSnapshot, RuleAction::kForward,      RuleAction::kIgnore};

constexpr std::string_view kBuiltInRules = R"(rules:
  - name: forward            # to every target of `forward`; nothing when there is none
    do: [forward]
    continue: true
  - name: volumes            # the data first, then the object
    when: {kind: [PersistentVolume, PersistentVolumeClaim], type: [ADDED, MODIFIED]}
    do: [sync_volume]
  - name: deleted-volumes    # the object at DR; the data goes to the trash
    when: {kind: [PersistentVolume, PersistentVolumeClaim], type: [DELETED]}
    do: [delete_volume]
  - name: snapshots          # once they are ready to use
    when: {kind: [VolumeSnapshot, VolumeSnapshotContent], type: [ADDED, MODIFIED]}
    do: [sync_snapshot]
  - name: deleted-snapshots
    when: {kind: [VolumeSnapshot, VolumeSnapshotContent], type: [DELETED]}
    do: [delete_snapshot]
)";

constexpr std::string_view kExampleRules = R"(rules:
  - name: not-the-sandboxes
    when: {namespace: ["sandbox-*", scratch]}
    do: [ignore]
  - name: tell-ansible-of-new-databases
    when:
      kind: [PersistentVolumeClaim]
      type: [ADDED]
      namespace: [shop]
      labels: {app: database}
      storage_class: [nfs-fast]
      fields: {status.phase: Bound, /metadata/annotations/example.com~1tier: gold}
    do: [forward, sync_volume]
  - name: snapshots-that-are-ready
    when: {kind: [VolumeSnapshot, VolumeSnapshotContent], type: [ADDED, MODIFIED], fields: {status.readyToUse: true}}
    do: [sync_snapshot]
  - name: other-snapshots
    when: {kind: [VolumeSnapshot, VolumeSnapshotContent], type: [ADDED, MODIFIED]}
    do: [ignore]
  - name: log-deletions-elsewhere
    when: {type: [DELETED]}
    do: [forward]
    continue: true
  - name: everything-else
    do: [sync_volume, delete_volume, delete_snapshot]
)";

// A rule as the file writes it; what the texts may be is checked while they are read.
struct RuleText {
  std::string name;
  std::vector<std::string> kinds;
  std::vector<std::string> types;
  std::vector<std::string> actions;
  RuleCondition when;
  bool goes_on = false;

  void Describe(Visitor& v) {
    v.Text({.key = "name", .doc = "unique; `drctl events tail` names the rule that matched", .required = true}, name,
           CheckNotEmpty);
    Condition condition{*this};
    v.Section({.key = "when", .doc = "all that is written here must hold; without it, the rule holds for every event"},
              condition);
    v.TextList({.key = "do",
                .doc = "`sync_volume`, `delete_volume`, `sync_snapshot`, `delete_snapshot`, `forward`, `ignore`: each "
                       "is done where it fits the event",
                .required = true},
               actions, [](const std::string& text) { return ParseRuleAction(text).status(); });
    v.Boolean({.key = "continue", .doc = "look at the rules after this one, too"}, goes_on);
  }

  struct Condition {
    RuleText& rule;
    void Describe(Visitor& v) const {
      v.TextList({.key = "kind",
                  .doc = "one of these: `PersistentVolume`, `PersistentVolumeClaim`, `VolumeSnapshot`, "
                         "`VolumeSnapshotContent`"},
                 rule.kinds, [](const std::string& text) { return model::ParseObjectKind(text).status(); });
      v.TextList({.key = "type", .doc = "one of these: `ADDED`, `MODIFIED`, `DELETED`"}, rule.types,
                 [](const std::string& text) { return model::ParseEventType(text).status(); });
      v.TextList({.key = "namespace",
                  .doc = "one of these, with `*` and `?`; a PersistentVolume's is its claim's, a "
                         "VolumeSnapshotContent's its snapshot's"},
                 rule.when.namespaces, CheckNotEmpty);
      v.TextMap({.key = "labels", .doc = "all of these"}, rule.when.labels);
      v.TextList({.key = "storage_class",
                  .doc = "one of these: the storage class, or a VolumeSnapshot's or its content's snapshot class"},
                 rule.when.storage_classes);
      v.TextMap({.key = "fields",
                 .doc = "all of these: a path in the object (`status.phase`, or a JSON pointer where a name holds a "
                        "dot) and its value; an empty text: isn't there"},
                rule.when.fields);
    }
  };
};

struct RulesText {
  std::vector<RuleText> rules;
  void Describe(Visitor& v) {
    v.List({.key = "rules", .doc = "the rules, in the order in which they are tried", .required = true}, rules);
  }
};

Rule Compile(const RuleText& text) {
  Rule rule{.name = text.name, .when = text.when, .actions = {}, .goes_on = text.goes_on};
  for (const std::string& kind : text.kinds) rule.when.kinds.push_back(*model::ParseObjectKind(kind));
  for (const std::string& type : text.types) rule.when.types.push_back(*model::ParseEventType(type));
  for (const std::string& action : text.actions) rule.actions.push_back(*ParseRuleAction(action));
  return rule;
}

template <class Value>
bool Allows(const std::vector<Value>& wanted, const Value& value) {
  return wanted.empty() || std::find(wanted.begin(), wanted.end(), value) != wanted.end();
}

// Whether some event that the rule can match lets the action be done.
bool CanFit(RuleAction action, const RuleCondition& when) {
  for (const ObjectKind kind : kAllKinds) {
    for (const EventType type : kAllTypes) {
      if (Allows(when.kinds, kind) && Allows(when.types, type) && Fits(action, kind, type)) {
        return true;
      }
    }
  }
  return false;
}

bool HoldsAlways(const RuleText& rule) {
  const RuleCondition& when = rule.when;
  return rule.kinds.empty() && rule.types.empty() && when.namespaces.empty() && when.labels.empty() &&
         when.storage_classes.empty() && when.fields.empty();
}

std::optional<Problem> FindRuleProblem(const RulesText& text, size_t index) {
  const RuleText& rule = text.rules[index];
  const std::string key = fmt::format("rules[{}]", index);
  for (size_t other = 0; other < index; ++other) {
    if (text.rules[other].name == rule.name) {
      return Problem{key + ".name",
                     fmt::format("'{}' is rules[{}], too: names must differ", Printable(rule.name), other)};
    }
  }
  const Rule compiled = Compile(rule);
  if (compiled.actions.empty()) return Problem{key + ".do", "an empty list: write ignore to do nothing"};
  for (const RuleAction action : compiled.actions) {
    if (action == RuleAction::kIgnore && compiled.actions.size() > 1) {
      return Problem{key + ".do", "ignore stands alone: leave it out, or everything else"};
    }
    if (!CanFit(action, compiled.when)) {
      return Problem{key + ".do",
                     fmt::format("{} fits none of the kinds and types that this rule holds for", ToString(action))};
    }
  }
  if (HoldsAlways(rule) && !rule.goes_on && index + 1 < text.rules.size()) {
    return Problem{key, fmt::format("holds for every event, so '{}' and what follows is never reached: put it last, or "
                                    "write continue: true",
                                    Printable(text.rules[index + 1].name))};
  }
  return std::nullopt;
}

std::optional<Problem> FindProblem(const RulesText& text) {
  for (size_t i = 0; i < text.rules.size(); ++i) {
    if (auto problem = FindRuleProblem(text, i)) return problem;
  }
  return std::nullopt;
}

std::vector<Rule> CompileAll(const RulesText& text) {
  std::vector<Rule> rules;
  for (const RuleText& rule : text.rules) rules.push_back(Compile(rule));
  return rules;
}

}  // namespace

std::string_view ToString(RuleAction action) {
  switch (action) {
    case RuleAction::kSyncVolume:
      return "sync_volume";
    case RuleAction::kDeleteVolume:
      return "delete_volume";
    case RuleAction::kSyncSnapshot:
      return "sync_snapshot";
    case RuleAction::kDeleteSnapshot:
      return "delete_snapshot";
    case RuleAction::kForward:
      return "forward";
    case RuleAction::kIgnore:
      return "ignore";
  }
  AbortOnBrokenInvariant("known RuleAction", __FILE__, __LINE__);
}

absl::StatusOr<RuleAction> ParseRuleAction(std::string_view text) {
  for (const RuleAction action : kAllActions) {
    if (text == ToString(action)) return action;
  }
  return absl::InvalidArgumentError(fmt::format(
      "'{}': write sync_volume, delete_volume, sync_snapshot, delete_snapshot, forward or ignore", Printable(text)));
}

bool Fits(RuleAction action, model::ObjectKind kind, model::EventType type) {
  const bool deleted = type == EventType::kDeleted;
  const bool volume = kind == ObjectKind::kPersistentVolume || kind == ObjectKind::kPersistentVolumeClaim;
  switch (action) {
    case RuleAction::kSyncVolume:
      return volume && !deleted;
    case RuleAction::kDeleteVolume:
      return volume && deleted;
    case RuleAction::kSyncSnapshot:
      return !volume && !deleted;
    case RuleAction::kDeleteSnapshot:
      return !volume && deleted;
    case RuleAction::kForward:
    case RuleAction::kIgnore:
      return true;
  }
  AbortOnBrokenInvariant("known RuleAction", __FILE__, __LINE__);
}

absl::StatusOr<std::vector<Rule>> LoadRulesFile(const std::string& file) {
  RulesText text;
  RETURN_IF_ERROR(ReadYamlFile(
      file, [&](Visitor& v) { text.Describe(v); }, [&] { return FindProblem(text); }));
  return CompileAll(text);
}

absl::StatusOr<std::vector<Rule>> ParseRules(const std::string& yaml, const std::string& name) {
  RulesText text;
  RETURN_IF_ERROR(ReadYamlText(
      yaml, name, [&](Visitor& v) { text.Describe(v); }, [&] { return FindProblem(text); }));
  return CompileAll(text);
}

std::string_view BuiltInRulesText() {
  return kBuiltInRules;
}

std::vector<Rule> BuiltInRules() {
  absl::StatusOr<std::vector<Rule>> rules = ParseRules(std::string(kBuiltInRules), "built-in rules");
  UNDERSTUDY_CHECK(rules.ok());
  return *std::move(rules);
}

std::string_view ExampleRulesText() {
  return kExampleRules;
}

void DescribeRules(Visitor& v) {
  RulesText().Describe(v);
}

}  // namespace understudy::config
