// fine_times.h: whether a file's change time tells of every change.
#pragma once

namespace understudy::os {

// Whether on the filesystem of the folder open as `folder` two statx of a file between which it changed never give the
// same change time (Linux 6.13: "multigrain" timestamps). Elsewhere a change within the same tick of the clock can
// hide. Tries it with a file that has no name; false also where that can't be done.
[[nodiscard]] bool HasFineTimes(int folder);

}  // namespace understudy::os
