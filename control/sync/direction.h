// direction.h: which site has the live copy of a volume, and which way its data and its storage objects go. Pure; the
// one place that decides it: the rest of drctl asks the agents for Copies and goes by WayOf.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace understudy::control {

enum class Direction {
  kToDr,
  kToPrimary,
  kNone,  // nothing is replicated: promoted, or on the way to the other direction
};
[[nodiscard]] std::string_view ToString(Direction direction);  // "to-dr", "to-primary", "none"

// What the understudy-dr of one side has of a volume.
struct CopyState {
  bool standby = true;       // it takes replication; else promoting, active or demoting
  bool adopting = false;     // demoting for the live copy at the other side, which has this epoch
  bool reprotected = false;  // active, and replicated to the other side from there
  uint64_t epoch = 0;
};

// What both sides have of it; nullopt: nothing.
struct Copies {
  std::optional<CopyState> at_dr{};       // by the pair's own `dr`
  std::optional<CopyState> at_primary{};  // by the `dr` of its `reverse`
};

struct VolumeWay {
  bool live_at_dr = false;  // else at the primary
  bool reversed = false;    // the pair's `reverse` agents have charge of it
  Direction direction = Direction::kToDr;
};

// A promoted copy is live, of two the one with the higher epoch; one that is being adopted isn't. Without any the live
// one is at the side that has no replica: what was made at DR while that was live has its replica at the primary,
// everything else at DR.
[[nodiscard]] VolumeWay WayOf(const Copies& copies);

}  // namespace understudy::control
