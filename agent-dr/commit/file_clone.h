// file_clone.h: a file's content, or ranges of it, as part of another's.
#pragma once

#include <cstdint>
#include <vector>

#include "agent-dr/commit/content_ranges.h"
#include "core/base/status.h"
#include "core/os/file_io.h"
#include "core/os/root.h"

namespace understudy::dr {

// Whether files in that folder can share blocks; tried out with two that have no names.
[[nodiscard]] absl::StatusOr<bool> SharesBlocks(const os::Root& folder);

// Gives the empty file `target` the first `length` bytes of `source` and the size `size`: by a reflink where the
// filesystem can, else by copying what isn't a hole; `go_on` is asked before each piece of at most 64 MiB.
[[nodiscard]] absl::Status CloneContent(int source, int target, uint64_t length, uint64_t size,
                                        const os::GoOn& go_on = nullptr);

// Makes [offset, offset + length) of `file` zeros: a hole where the filesystem can; the size stays.
[[nodiscard]] absl::Status ZeroRange(int file, uint64_t offset, uint64_t length);

// Gives `target` one range of `source`: by reference where the filesystem can, else as a copy; zeros when it is a hole.
// Doing it again changes nothing.
[[nodiscard]] absl::Status ApplyRange(int source, int target, const ContentRange& range);

// Gives the empty file `target` the content that `source` has in `ranges` (ascending, none past its end), at the same
// offsets: by reference where the filesystem can, else as a copy that RESOURCE_EXHAUSTED refuses while it would leave
// too little space (free_space.h). Returns the ranges with the holes in them told apart.
[[nodiscard]] absl::StatusOr<std::vector<ContentRange>> SaveRanges(int source, int target,
                                                                   const std::vector<ContentRange>& ranges);

// The same for one range that holds no hole, of a `target` that needn't be empty.
[[nodiscard]] absl::Status SaveRange(int source, int target, const ContentRange& range);

[[nodiscard]] absl::Status SetSize(int file, uint64_t size);

}  // namespace understudy::dr
