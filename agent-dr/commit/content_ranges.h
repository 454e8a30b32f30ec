// content_ranges.h: which parts of a file differ from its base, and how the commit record writes them down. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace understudy::dr {

struct ContentRange {
  uint64_t offset = 0;  // bytes from the start of the file
  uint64_t length = 0;  // bytes, never 0
  bool hole = false;    // zeros; no data is staged for it
  friend bool operator==(const ContentRange&, const ContentRange&) = default;
};

// Of one file; content with a base that comes in more pieces is refused.
inline constexpr size_t kMaxContentRanges = 1024 * 1024;
// Past so many, a delta's segment counts as changed as a whole.
inline constexpr size_t kFineContentRanges = kMaxContentRanges / 2;
inline constexpr uint64_t kChangedBlockBytes = 4096;

// Adds a range that begins where the last one ends, or later; neighbours of one kind become one.
void AppendRange(std::vector<ContentRange>& ranges, ContentRange range);

// Where `next` differs from `base`, both at `offset` of their files, in blocks of kChangedBlockBytes. Past its end, the
// base counts as zeros.
[[nodiscard]] std::vector<ContentRange> ChangedBlocks(std::string_view base, std::string_view next, uint64_t offset);

// Format: docs/formats/commit.md.
[[nodiscard]] std::string SerializeRanges(const std::vector<ContentRange>& ranges);
// DATA_LOSS: not what SerializeRanges makes.
[[nodiscard]] absl::StatusOr<std::vector<ContentRange>> ParseRanges(std::string_view bytes);

}  // namespace understudy::dr
