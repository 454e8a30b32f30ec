// content_ranges.h: which parts of a file differ from its base, and how the commit record writes them down. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/wire/content_limits.h"

namespace understudy::dr {

struct ContentRange {
  uint64_t offset = 0;  // bytes from the start of the file
  uint64_t length = 0;  // bytes, never 0
  bool hole = false;    // zeros; no data is staged for it
  friend bool operator==(const ContentRange&, const ContentRange&) = default;
};

// Of one file.
inline constexpr size_t kMaxContentRanges = wire::kMaxContentRanges;
// Of the old content of one file: what was a hole there makes a range of its own.
inline constexpr size_t kMaxKeptRanges = 2 * kMaxContentRanges;
// Past so many, a delta's segment counts as changed as a whole.
inline constexpr size_t kFineContentRanges = kMaxContentRanges / 2;
inline constexpr uint64_t kChangedBlockBytes = 4096;

// Adds a range that begins where the last one ends, or later; neighbours of one kind become one.
void AppendRange(std::vector<ContentRange>& ranges, ContentRange range);

// Where `next` differs from `base`, both at `offset` of their files, in blocks of kChangedBlockBytes. Past its end, the
// base counts as zeros.
[[nodiscard]] std::vector<ContentRange> ChangedBlocks(std::string_view base, std::string_view next, uint64_t offset);

// What a file had where a change to the size `new_size` overwrites or cuts it: `ranges` rounded outwards to whole
// blocks, as far as they lie below `old_size`, and all that is past `new_size`. Whole blocks can be shared instead of
// copied.
[[nodiscard]] std::vector<ContentRange> RangesToKeep(const std::vector<ContentRange>& ranges, uint64_t old_size,
                                                     uint64_t new_size);

// Format: docs/formats/commit.md.
[[nodiscard]] std::string SerializeRanges(const std::vector<ContentRange>& ranges);
// DATA_LOSS: not what SerializeRanges makes.
[[nodiscard]] absl::StatusOr<std::vector<ContentRange>> ParseRanges(std::string_view bytes);

}  // namespace understudy::dr
