// clone_file.h: reflinks (FICLONE).
#pragma once

namespace understudy::os {

// Makes the empty file `target` share all of `source`'s blocks. 0, or the error number.
[[nodiscard]] int CloneFile(int source, int target);

}  // namespace understudy::os
