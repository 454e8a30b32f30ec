// extents_capture.h: the `extents` rung: stages what a file has elsewhere on its disk than its base has.
//
// Reads what lies elsewhere in both and nothing more; what turns out to be the same doesn't travel, unless the file
// changed in so many places that DR would refuse them one by one. Memory is bounded, whatever the file's size.
#pragma once

#include "agent-primary/capture/file_capture.h"

namespace understudy::primary {

// Two frozen files (base_store.h).
struct FrozenPair {
  int base;  // what the replica has: the row of CaptureRequest::base
  int now;
  uint64_t size;                       // of `now`
  const FrozenFile* frozen = nullptr;  // whose clone `now` is, to look whether it holds
};

enum class ExtentsOutcome {
  kNotTold,  // the filesystem doesn't say where bytes are; nothing was done
  kSame,     // all is where it is in the base
  kDiffers,  // something lies elsewhere, whatever its content
};

// Fills in `file` but for its stat and metadata. Errors as CaptureFile's.
[[nodiscard]] absl::StatusOr<ExtentsOutcome> CaptureByExtents(const CaptureRequest& request, const FrozenPair& files,
                                                              CapturedFile& file);

}  // namespace understudy::primary
