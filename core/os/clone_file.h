// clone_file.h: reflinks (FICLONE).
#pragma once

#include <cstdint>

namespace understudy::os {

// Makes `target` share all of `source`'s blocks, at one moment; what `target` has past the end of `source` stays. 0, or
// the error number.
[[nodiscard]] int CloneFile(int source, int target);

// The same of a part, which is a multiple of blocks unless it ends where `source` does.
[[nodiscard]] int CloneRange(int source, int target, uint64_t offset, uint64_t length);

}  // namespace understudy::os
