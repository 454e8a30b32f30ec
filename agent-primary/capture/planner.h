// planner.h: turns the differences between a volume and its index into the structure of a commit.
//
// Decides what was renamed (the same inode at another path), what is removed, made, or has to have its content looked
// at. Reads the index; reads nothing from disk.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent-primary/capture/change_detector.h"

namespace understudy::primary {

// One entry that is to be at `path`.
struct PlannedEntry {
  std::string path;
  os::EntryStat stat;
  // What the replica has that this continues: under its path before the commit. Same kind as `stat`.
  std::optional<IndexEntry> base;
  // Set: `base` is detached under this slot and attached at `path`.
  std::optional<model::Slot> move_slot;
  bool linked = false;  // it is in one of Plan::links
};

// Names of one file. The first of `names` that is there carries what the file is; the others become links to it where
// DR doesn't have them as the same file already.
struct PlannedLinks {
  std::optional<IndexEntry> settled;  // a name that DR has as it is, under its path after the commit: it carries
  std::vector<size_t> names;          // positions in Plan::entries
};

struct Plan {
  struct Move {
    IndexEntry source;
    model::Slot slot;
  };
  // Paths before the commit, in descending key order; a folder goes with all that is in it.
  std::vector<IndexEntry> removals;
  std::vector<Move> moves;            // likewise
  std::vector<PlannedEntry> entries;  // in ascending key order
  std::vector<PlannedLinks> links;
  std::vector<std::string> bereft;  // folders that lose an entry by a removal or a move; paths after the commit
  uint64_t replaced = 0;            // old entries whose names new or moved ones take
  [[nodiscard]] bool empty() const { return removals.empty() && moves.empty() && entries.empty(); }
};

[[nodiscard]] absl::StatusOr<Plan> MakePlan(const ChangeDetector& detector, VolumeIndex& index);

// How many entries the replica has, its root aside, when the plan has taken effect.
[[nodiscard]] absl::StatusOr<uint64_t> CountEntriesAfter(const Plan& plan, VolumeIndex& index);

}  // namespace understudy::primary
