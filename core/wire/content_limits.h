// content_limits.h: the bounds of staged content that a sender has to count for itself (others: limits.h).
#pragma once

#include <cstddef>

namespace understudy::wire {

// In so many ranges, apart from each other, one file may differ from its base; content that comes in more is refused.
inline constexpr size_t kMaxContentRanges = 1024 * 1024;

}  // namespace understudy::wire
