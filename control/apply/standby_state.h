// standby_state.h: how far the DR cluster is from what a pair's catalog wants there. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/model/object.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

enum class StandbyPhase {
  kApplied,  // there, made from the object that the catalog holds; a claim is bound, a snapshot ready to use
  kPending,  // not yet; time mends it
  kFailed,   // somebody has to do something
};
[[nodiscard]] std::string_view ToString(StandbyPhase phase);

struct StandbyObject {
  model::ObjectKey key;
  StandbyPhase phase = StandbyPhase::kApplied;
  std::string reason;      // empty when applied
  bool is_absent = false;  // there is no object of that name at DR
};

struct StandbyState {
  static constexpr size_t kMaxProblems = 100;
  uint64_t applied = 0;
  uint64_t pending = 0;
  uint64_t failed = 0;
  std::vector<StandbyObject> problems;  // what isn't applied, failed ones first; at most kMaxProblems
};

// What the DR cluster holds, whoever made it.
using PresentObjects = std::map<model::ObjectKey, nlohmann::json>;

// `present` is nullptr when there is no object of that key.
[[nodiscard]] StandbyObject JudgeStandby(const model::CatalogEntry& wanted, const nlohmann::json* present);

[[nodiscard]] StandbyState CompareStandby(const std::vector<model::CatalogEntry>& wanted,
                                          const PresentObjects& present);

}  // namespace understudy::control
