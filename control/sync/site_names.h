// site_names.h: what the two sites of a run are called in what people read. Pure.
#pragma once

#include <string_view>

#include "control/sync/direction.h"

namespace understudy::control {

struct SiteNames {
  std::string_view source;  // that is read
  std::string_view source_cluster;
  std::string_view target;  // that is brought to
  std::string_view target_cluster;
};

[[nodiscard]] constexpr SiteNames NamesOf(Direction direction) {
  constexpr std::string_view kPrimary = "the primary";
  constexpr std::string_view kPrimaryCluster = "the primary cluster";
  constexpr std::string_view kDr = "DR";
  constexpr std::string_view kDrCluster = "the DR cluster";
  if (direction == Direction::kToPrimary) return {kDr, kDrCluster, kPrimary, kPrimaryCluster};
  return {kPrimary, kPrimaryCluster, kDr, kDrCluster};
}

}  // namespace understudy::control
