// content_check.h: whether one file of a replica holds what it should, while commits go on.
//
// The replica's lock isn't held while a file is read: what is kept of it is looked at before and after, and when a
// commit came between, it is read again. A file that changes all the time is frozen by a reflink, or read under the
// lock when it is small.
#pragma once

#include <optional>
#include <string>

#include "agent-dr/commit/replica.h"
#include "agent-dr/verify/disk_reader.h"

namespace understudy::dr {

// Up to this size a file that changes all the time is read while commits wait, where it can't be frozen.
inline constexpr uint64_t kReadWhileCommitsWait = 64 * 1024 * 1024;

enum class Verdict {
  kSame,
  kUnknown,     // nobody told what it should hold, and it isn't known: it may be learned
  kDamaged,     // read twice, and other than it should be
  kUnreadable,  // likewise
  kChanging,    // a commit changed it at each try, or it mayn't be opened: it isn't known
  kGone,        // no regular file stands there (any more)
};

struct ContentCheck {
  Verdict verdict = Verdict::kGone;
  os::EntryStat stat;
  std::optional<KeptContent> kept;  // what it should hold
  ReadContent found;                // unless kUnreadable, kChanging or kGone
  model::Sequence sequence = 0;     // of the state in which it was found
  std::string why;                  // kDamaged, kUnreadable: for people
};

// Errors are those of the replica (its folder can't be reached), of the system (no descriptors or memory: that is no
// damage) and of `on_bytes`.
[[nodiscard]] absl::StatusOr<ContentCheck> CheckContent(Replica& replica, const std::string& path,
                                                        const OnBytes& on_bytes);

}  // namespace understudy::dr
