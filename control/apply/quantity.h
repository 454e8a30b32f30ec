// quantity.h: amounts as Kubernetes writes them: "10Gi", "1500M", "2e9", "500m". Pure.
#pragma once

#include <optional>
#include <string_view>

namespace understudy::control {

// nullopt: it isn't one. Exact up to 2^53 units, which is enough to tell sizes apart.
[[nodiscard]] std::optional<double> ParseQuantity(std::string_view text);

}  // namespace understudy::control
