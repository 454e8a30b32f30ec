// gentle_clone.h: makes a reflink clone of a file that is written to meanwhile, and says how long its writers were held
// up.
//
// While one call of the kernel clones, whoever writes to the file waits. On XFS that is some 20 µs for each extent that
// the clone doesn't have yet, and 0.4 µs for one that it has at the same place already (xfs_reflink_remap_extent, Linux
// 5.9). So the clone is brought up to date piece by piece first, and then as a whole: only that last call makes it one
// moment, and it takes as long as the file has extents, 0.4 µs each.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "core/base/clock.h"

namespace understudy::primary {

// What holds writers up for no longer isn't felt: on a disk that is in use any write can take that. Pieces are cut so
// that they stay well below.
inline constexpr absl::Duration kShortHold = absl::Milliseconds(1);

// How long writers were held up, by what isn't short.
struct CloneHolds {
  absl::Duration in_all;
  absl::Duration longest;
  absl::Duration pieces;    // all of them together, short ones too
  absl::Duration whole;     // the last call
  bool all_pieces = false;  // `pieces` is of the whole file

  void Note(absl::Duration hold) {
    longest = std::max(longest, hold);
    if (hold > kShortHold) in_all += hold;
  }
};

// Writes the file's dirty pages and waits for that; nothing is flushed. 0, or the error number.
[[nodiscard]] int WritePages(int file, uint64_t offset, uint64_t length);

// Makes `target` a clone of the first `size` bytes of `source`, not at one moment. What goes wrong here goes wrong with
// the whole, too.
void ClonePieces(int source, int target, uint64_t size, const Clock& clock, CloneHolds& holds);

// Makes `target` a clone of `source` at one moment. 0, or the error number.
[[nodiscard]] int CloneAtOnce(int source, int target, const Clock& clock, CloneHolds& holds);

}  // namespace understudy::primary
