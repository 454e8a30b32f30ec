// rule_set.h: which rules hold for an object event, and what they want done. Pure.
#pragma once

#include <string>
#include <vector>

#include "core/config/rules_file.h"
#include "core/model/object.h"

namespace understudy::primary {

// What the rules want of one event. None of it: the event is ignored.
struct RuleMatch {
  bool act = false;      // what rules.h's Decide makes of it
  bool forward = false;  // to every target
  std::string names;     // of the rules that held, separated by commas; empty: none did
};

// Immutable, so thread-safe.
class RuleSet {
 public:
  explicit RuleSet(std::vector<config::Rule> rules) : rules_(std::move(rules)) {}

  // The first rule that holds counts, and those after it as long as each says to go on.
  [[nodiscard]] RuleMatch Match(const model::ObjectEvent& event) const;

 private:
  const std::vector<config::Rule> rules_;
};

// `*` stands for any number of characters, `?` for one.
[[nodiscard]] bool MatchesGlob(std::string_view glob, std::string_view text);

}  // namespace understudy::primary
