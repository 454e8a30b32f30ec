// reading_capture.h: the rungs `blocks`, `rsync` and `whole` (file_capture.h): a large file is read as a whole, segment
// by segment, and what the replica lacks of it is staged.
#pragma once

#include "agent-primary/capture/file_capture.h"

namespace understudy::primary {

// Fills in `file` but for its stat and metadata; `fd` is the file itself, or `frozen`'s where that isn't nullptr.
// Errors as CaptureFile's.
[[nodiscard]] absl::Status CaptureByReading(const CaptureRequest& request, int fd, const FrozenFile* frozen,
                                            CapturedFile& file);

}  // namespace understudy::primary
