// block_marks.h: which blocks of a segment changed, by their marks (core/delta/content_digest.h), and which are
// elsewhere. Pure.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/os/file_io.h"

namespace understudy::primary {

// Runs of blocks of a segment of `length` bytes that are other ones than before, in bytes from its beginning; in
// ascending order, apart from each other. Blocks that weren't there before were zeros.
[[nodiscard]] std::vector<os::DataRange> ChangedBlocks(std::string_view before, std::string_view now, uint64_t length);

// Where in a file there is now what was there before, but `shift` bytes further on (less than 0: nearer its beginning):
// runs in bytes from its beginning, ascending, apart from each other. `marks` are those of the segment `number` of what
// it was, `old_size` bytes in all; `now` is what it has at `now_offset`, and only blocks that are there as a whole
// count.
[[nodiscard]] std::vector<os::DataRange> ShiftedBlocks(uint64_t number, std::string_view marks, uint64_t old_size,
                                                       int64_t shift, std::string_view now, uint64_t now_offset);

// Whether most of what comes after the first change is changed, as it is where something was put in or taken out before
// it. `changed` is what ChangedBlocks said of a segment of `length` bytes.
[[nodiscard]] bool LooksMoved(const std::vector<os::DataRange>& changed, uint64_t length);

}  // namespace understudy::primary
