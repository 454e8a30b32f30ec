// ownership.h: what Understudy made at DR, told by the label and the annotation that Transform gives. Pure.
#pragma once

#include <string>

#include "nlohmann/json.hpp"

namespace understudy::control {

// The uid of the primary's object that `object` was made from; empty when it doesn't say.
[[nodiscard]] std::string SourceUidOf(const nlohmann::json& object);
// Whether `present` is what the object was made from that `manifest` was made from.
[[nodiscard]] bool IsOriginOf(const nlohmann::json& present, const nlohmann::json& manifest);
// The pair that it was made for; empty when it doesn't say.
[[nodiscard]] std::string PairOf(const nlohmann::json& object);
[[nodiscard]] bool IsOurs(const nlohmann::json& object);

}  // namespace understudy::control
