// held_content.h: what staged content of an earlier session is worth to the session that goes on with it.
//
// Only what is on disk counts: segments (core/delta/content_digest.h) are told by their digests, and whoever goes on
// stages those that differ once more. One thread at a time for each file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "agent-dr/commit/content_ranges.h"
#include "core/base/status.h"
#include "core/model/commit.h"

namespace understudy::dr {

// Content without a base: gives `file` the size `size` and returns the digests of its segments that aren't all zeros,
// at most `max_segments`; what lies past those becomes zeros.
[[nodiscard]] absl::StatusOr<std::vector<model::SegmentDigest>> CutToHeldSegments(int file, uint64_t size,
                                                                                  size_t max_segments);

struct HeldOverBase {
  std::vector<model::SegmentDigest> segments;  // as they are with what is staged; ascending
  std::vector<ContentRange> ranges;            // what is staged, each within one of those segments; ascending
};

// Content with a base, of which `file` holds what differs: gives it the size `size` and returns the segments that it
// has data of, at most `max_segments` and kFineContentRanges ranges. All other data is taken out.
[[nodiscard]] absl::StatusOr<HeldOverBase> CutToHeldOverBase(int file, int base, uint64_t base_size, uint64_t size,
                                                             size_t max_segments);

}  // namespace understudy::dr
