// diff.h: what a storage object of the DR cluster would become, as people read it. Pure.
#pragma once

#include <string>
#include <string_view>

#include "nlohmann/json.hpp"

namespace understudy::control {

// Whether everything that `wanted` says stands in `present` with the same value; the API server adds defaults.
[[nodiscard]] bool Holds(const nlohmann::json& present, const nlohmann::json& wanted);

// The object without what API servers and controllers write by themselves: status, versions, uids, finalizers, and the
// annotations of the claim binder.
[[nodiscard]] nlohmann::json WithoutServerFields(nlohmann::json object);

// A unified diff of two texts with three lines around each change; empty when they are equal. Texts of so many lines
// that comparing would cost too much are shown as replaced whole.
[[nodiscard]] std::string UnifiedDiff(std::string_view before, std::string_view after, std::string_view before_name,
                                      std::string_view after_name);

}  // namespace understudy::control
