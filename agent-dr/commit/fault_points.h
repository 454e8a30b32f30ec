// fault_points.h: named steps of the commit protocol, between its effects, where a test can end or fail it.
#pragma once

#include <cstddef>

#include "core/base/status.h"

namespace understudy::dr {

enum class Step {
  kStage,  // before the operation `index` is staged
  kKeep,   // before each effect of keeping what the commit displaces; `index` is the operation's, or how many there are
  kSync,   // before staged content is made durable
  kRecord,    // before the commit record is written
  kRecorded,  // after it: the commit point lies behind
  kPublish,   // before each effect of publishing; `index` counts them
  kTrash,     // before each effect of moving to the trash, restoring and purging; `index` counts them
  kSettle,    // before the record of a published commit is taken away
  kMerge,     // before each effect of merging undo records; `index` counts them
  kState,     // before a change of the replica's state is written (`index` 0), and after it (1)
  kDrop,      // before undo record `index` is taken away, and between its row and what it keeps
};

// Called by the thread that commits. An error is handled as if the step's system call had failed.
class FaultPoints {
 public:
  virtual ~FaultPoints() = default;
  [[nodiscard]] virtual absl::Status Reach(Step step, size_t index) = 0;

  // Lets everything pass; lives as long as the process.
  static FaultPoints& None();
};

}  // namespace understudy::dr
