// rsync_segment.h: librsync on one segment in memory: signature, delta, patch.
//
// Large files go in segments of delta::kSegmentBytes, each by itself, so memory is bounded and segments that didn't
// change cost one digest. Pure; thread-safe. Formats: librsync's own (https://librsync.github.io/page_formats.html).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "core/base/status.h"

namespace understudy::delta {

// What a delta against `base` needs to know of it: about 0.15 % of its size.
[[nodiscard]] absl::StatusOr<std::string> MakeSignature(std::string_view base);

// The signature of what `signatures` describe, one behind the other; all but the last are of whole segments.
// INVALID_ARGUMENT: one isn't a signature.
[[nodiscard]] absl::StatusOr<std::string> JoinSignatures(std::span<const std::string> signatures);

// How to make `next` out of the base that `signature` describes. INVALID_ARGUMENT: not a signature.
[[nodiscard]] absl::StatusOr<std::string> MakeDelta(std::string_view signature, std::string_view next);

// `delta` comes from a peer: DATA_LOSS when it isn't a delta, copies from outside `base`, or doesn't make exactly
// `length` bytes.
[[nodiscard]] absl::StatusOr<std::string> ApplyDelta(std::string_view base, std::string_view delta, size_t length);
// The same into the caller's buffer, which it fills.
[[nodiscard]] absl::Status ApplyDelta(std::string_view base, std::string_view delta, std::span<char> next);

}  // namespace understudy::delta
