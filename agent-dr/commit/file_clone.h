// file_clone.h: a file's content as the beginning of another's.
#pragma once

#include <cstdint>

#include "core/base/status.h"

namespace understudy::dr {

// Gives the empty file `target` the first `length` bytes of `source` and the size `size`: by a reflink where the
// filesystem can, else by copying what isn't a hole.
[[nodiscard]] absl::Status CloneContent(int source, int target, uint64_t length, uint64_t size);

// Makes [offset, offset + length) of `file` zeros: a hole where the filesystem can; the size stays.
[[nodiscard]] absl::Status ZeroRange(int file, uint64_t offset, uint64_t length);

}  // namespace understudy::dr
