#include <string_view>
#include <utility>

#include "control/sync/ports.h"

namespace understudy::control {
namespace {

// Before the pair's name in the rows of what is at the primary.
constexpr std::string_view kAtPrimary = "to-primary/";

OwedRelease AsKept(OwedRelease release, Direction direction) {
  if (direction == Direction::kToPrimary) release.pair.insert(0, kAtPrimary);
  return release;
}

}  // namespace

absl::StatusOr<std::vector<OwedRelease>> OwedOneWay::Owed() {
  ASSIGN_OR_RETURN(std::vector<OwedRelease> kept, all_.Owed());
  std::vector<OwedRelease> owed;
  for (OwedRelease& release : kept) {
    const bool at_primary = release.pair.starts_with(kAtPrimary);
    if (at_primary != (direction_ == Direction::kToPrimary)) continue;
    if (at_primary) release.pair.erase(0, kAtPrimary.size());
    owed.push_back(std::move(release));
  }
  return owed;
}

absl::Status OwedOneWay::Owe(const OwedRelease& release) {
  return all_.Owe(AsKept(release, direction_));
}

absl::Status OwedOneWay::Settle(const OwedRelease& release) {
  return all_.Settle(AsKept(release, direction_));
}

}  // namespace understudy::control
