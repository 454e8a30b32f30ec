// free_space.h: whether a filesystem has room for what is to be written, found out before it is.
#pragma once

#include <cstdint>

#include "core/base/status.h"

namespace understudy::dr {

// What stays free for publishing, which may need blocks of its own, and for whoever else uses the filesystem: the
// smaller of both.
inline constexpr uint64_t kFreeSpaceReserveBytes = 64 * 1024 * 1024;
inline constexpr uint64_t kFreeSpaceReserveDivisor = 20;  // this part of the whole filesystem

enum class Reserve { kKept, kOpen };  // kOpen: what is to be written may use the reserve

// `bytes` and `entries` more on the filesystem of `fd`. RESOURCE_EXHAUSTED says how much is needed and how much there
// is.
[[nodiscard]] absl::Status CheckFreeSpace(int fd, uint64_t bytes, uint64_t entries, Reserve reserve = Reserve::kKept);

// Whether what failed with `error` on the filesystem of `fd` would go with more room there: CheckFreeSpace said so
// (Annotate() hides that), or the reserve is used up. The same code comes from a quota of an owner, and from a limit of
// one entry, as of its xattrs on ext4: no room helps there.
[[nodiscard]] bool IsForWantOfSpace(const absl::Status& error, int fd);

}  // namespace understudy::dr
