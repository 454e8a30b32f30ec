#include "control/sync/direction.h"

#include "core/base/named.h"

namespace understudy::control {
namespace {

constexpr Named<Direction> kDirections[] = {
    {Direction::kToDr, "to-dr"},
    {Direction::kToPrimary, "to-primary"},
    {Direction::kNone, "none"},
};

bool IsPromoted(const std::optional<CopyState>& copy) {
  return copy && !copy->standby && !copy->adopting;
}

bool IsReplica(const std::optional<CopyState>& copy) {
  return copy && copy->standby;
}

bool LivesAtDr(const Copies& copies) {
  const bool at_dr = IsPromoted(copies.at_dr);
  const bool at_primary = IsPromoted(copies.at_primary);
  if (at_dr && at_primary) return copies.at_dr->epoch >= copies.at_primary->epoch;
  if (at_dr || at_primary) return at_dr;
  return copies.at_primary && !copies.at_dr;
}

}  // namespace

std::string_view ToString(Direction direction) {
  return NameOf(kDirections, direction);
}

VolumeWay WayOf(const Copies& copies) {
  if (LivesAtDr(copies)) {
    const bool let_go = !copies.at_dr || copies.at_dr->reprotected;
    return {.live_at_dr = true,
            .reversed = let_go,
            .direction = let_go && IsReplica(copies.at_primary) ? Direction::kToPrimary : Direction::kNone};
  }
  // Failed back, and not turned round yet.
  const bool reversed = IsPromoted(copies.at_primary) && !copies.at_primary->reprotected;
  const bool goes = !reversed && (!copies.at_dr || copies.at_dr->standby);
  return {.live_at_dr = false, .reversed = reversed, .direction = goes ? Direction::kToDr : Direction::kNone};
}

}  // namespace understudy::control
