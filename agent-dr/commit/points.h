// points.h: the states that a replica can be taken back to, and which way leads there. Pure.
//
// Every state is named by the commit that first made it. An undo record takes the folder from one state to a
// neighbouring one; the records form a tree whose root is the state that the folder shows, and each leads one step away
// from it. Running one turns it round: the commit that runs it leaves the record of the way back. So whatever was
// rewound can be reached again, until the bounds take it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/model/consistency.h"
#include "core/model/volume.h"

namespace understudy::dr {

// How much is kept of each volume; 0 of `keep_for` or `max_bytes` keeps nothing.
struct PointBounds {
  absl::Duration keep_for = absl::Hours(7 * 24);           // after the state was superseded
  uint64_t max_bytes = uint64_t{64} * 1024 * 1024 * 1024;  // held by undo records
  // Since the state was committed: each is kept, then one of each hour (UTC), then one of each day.
  absl::Duration keep_all_for = absl::Minutes(15);
  absl::Duration keep_hourly_for = absl::Hours(24);
  // Of a tree, on a filesystem whose files can't share blocks, while commits wait; a larger one ends the session first.
  uint64_t copied_while_commits_wait = uint64_t{256} * 1024 * 1024;
  [[nodiscard]] bool KeepsAny() const { return keep_for > absl::ZeroDuration() && max_bytes > 0; }
};

struct Point {
  model::Sequence sequence = 0;          // of the commit that first made this state; 0: before any commit
  int64_t committed_at_nanoseconds = 0;  // when it became durable, by this host's clock; 0: not known
  int64_t captured_at_nanoseconds = 0;   // when the primary captured it, by its clock; 0: not told
  bool completes_capture = false;        // false: the middle of a capture that took several commits
  bool complete = false;                 // a whole capture was committed before, or by it
  uint64_t held_bytes = 0;               // that are kept for it alone
  std::string label{};                   // that somebody gave it; empty: none. Such a state isn't thinned out
  bool pinned = false;                   // it is kept past keep_for, too
  model::Consistency consistency = model::Consistency::kUnknown;
  friend bool operator==(const Point&, const Point&) = default;
};

struct PointTotals {
  size_t points = 0;
  uint64_t held_bytes = 0;
};

// A name that somebody gave a state.
struct PointLabel {
  model::Sequence point = 0;
  std::string label;
  bool pinned = false;  // kept past PointBounds::keep_for
  friend bool operator==(const PointLabel&, const PointLabel&) = default;
};

// A kept entry where it lies: <undo folder>/<sequence>/<entry>.
struct KeptPlace {
  model::Sequence sequence = 0;
  size_t entry = 0;
  friend bool operator==(const KeptPlace&, const KeptPlace&) = default;
};

// What is known of an undo record without reading what it does.
struct UndoAbout {
  model::Sequence sequence = 0;           // of the commit that left it
  model::Sequence from = 0;               // the state that it is to be run on
  Point point;                            // the state that it leads to
  int64_t superseded_at_nanoseconds = 0;  // when that state was left
  bool measured = false;                  // whether held_bytes counts what is kept in the work folder
  bool knows_several_names = false;       // UndoRecord::several_names; false: it was left before these were noted
  friend bool operator==(const UndoAbout&, const UndoAbout&) = default;
};

// The records to run, in this order, to get from the state `current` to the state `wanted`. `records` is ascending by
// sequence. NOT_FOUND: `wanted` isn't kept.
[[nodiscard]] absl::StatusOr<std::vector<model::Sequence>> PathTo(std::span<const UndoAbout> records,
                                                                  model::Sequence current, model::Sequence wanted);

// More undo records than this aren't kept of one volume, so that what is known of them fits into memory.
inline constexpr size_t kMaxUndoRecords = 10'000;

// How many of the oldest records have to go. A record that another one leads to is younger than that one's way on, so
// the oldest never cut off any other. One that leads to a pinned state goes only when there is too much of them.
[[nodiscard]] size_t CountBeyond(std::span<const UndoAbout> records, const PointBounds& bounds, absl::Time now);

// Why records go before their time with a commit, for a message. `no_space`: they end with it, as there is none for
// what it displaces.
[[nodiscard]] std::string WhyBeyond(std::span<const UndoAbout> records, const PointBounds& bounds, bool no_space);

// Records that are to become one, because the states between them are more than `bounds` keeps: each run of at least
// two begins with the record whose state stays and goes on towards the state that is shown now. Only records before
// `below` are looked at. A state from which several ways go on stays, and so does `spared`.
[[nodiscard]] std::vector<std::vector<model::Sequence>> RunsToMerge(std::span<const UndoAbout> records,
                                                                    const PointBounds& bounds, absl::Time now,
                                                                    model::Sequence below,
                                                                    std::optional<model::Sequence> spared);

}  // namespace understudy::dr
