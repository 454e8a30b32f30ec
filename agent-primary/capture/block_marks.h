// block_marks.h: which blocks of a segment changed, by their marks (core/delta/content_digest.h). Pure.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/os/file_io.h"

namespace understudy::primary {

// Runs of blocks of a segment of `length` bytes that are other ones than before, in bytes from its beginning; in
// ascending order, apart from each other. Blocks that weren't there before were zeros.
[[nodiscard]] std::vector<os::DataRange> ChangedBlocks(std::string_view before, std::string_view now, uint64_t length);

// Whether most of what comes after the first change is changed, as it is where something was put in or taken out before
// it. `changed` is what ChangedBlocks said of a segment of `length` bytes.
[[nodiscard]] bool LooksMoved(const std::vector<os::DataRange>& changed, uint64_t length);

}  // namespace understudy::primary
