// deletion_guard.h: whether a capture may take as many entries from DR as it would: the mistake of a moment at the
// primary must not reach the only other copy.
//
// What counts is the number of entries that the volume is short of, compared with the most that it had within the last
// hour; so a deletion that is captured in many small pieces is seen as one, and what is replaced by as many others
// isn't seen at all. The volume of a virtual machine's disk holds one file: losing everything counts there, however few
// entries that is. Pure.
#pragma once

#include <cstdint>

#include "agent-primary/index/guard_record.h"
#include "core/base/status.h"

namespace understudy::primary {

// A capture is held back when it would leave at least `min_files` entries gone, and more than this part of them; or
// none at all of a volume with kGuardedBytes of content.
struct GuardLimits {
  double max_delete_fraction = 0.5;  // above 0; at 1 nothing is ever held back
  uint64_t min_files = 100;
};

inline constexpr int64_t kGuardWindowMinutes = 60;
inline constexpr uint64_t kGuardedBytes = 64ull * 1024 * 1024;

// What a capture would do.
struct Deletion {
  uint64_t entries = 0;  // at DR now
  uint64_t entries_after = 0;
  uint64_t bytes = 0;  // content at DR now; asked for only when no entry is left
};

// The volume has `entries` now.
void RecordEntries(GuardRecord& record, uint64_t entries, int64_t now_nanoseconds);

// Whether the capture may go on. If not, `record.held` says what it would do. What was held back before is compared
// with the count of that time, however long ago, and is forgotten when it isn't to happen any more.
[[nodiscard]] bool AllowDeletion(const GuardLimits& limits, GuardRecord& record, const Deletion& deletion,
                                 int64_t now_nanoseconds);

// Lets what is held back happen, up to `entries_gone` entries. FAILED_PRECONDITION: nothing is held back, or more than
// that would go.
[[nodiscard]] absl::Status ApproveDeletion(GuardRecord& record, uint64_t entries_gone);

// All of the volume was captured: an approval is used up, and what is there now is the new normal.
void EndApproval(GuardRecord& record, uint64_t entries, int64_t now_nanoseconds);

}  // namespace understudy::primary
