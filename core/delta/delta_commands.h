// delta_commands.h: what a delta consists of: copies out of the base and literal bytes, in librsync's format
// (https://librsync.github.io/page_formats.html), for who knows already what is where. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace understudy::delta {

// Bytes of the base that are somewhere in what the delta makes.
struct Copy {
  uint64_t from = 0;    // in the base
  uint64_t to = 0;      // in what the delta makes
  uint64_t length = 0;  // never 0
  friend bool operator==(const Copy&, const Copy&) = default;
};

// How to make `next`: `copies` (ascending by `to`, apart from each other, none past its end) from the base, the rest
// literally.
[[nodiscard]] std::string EncodeDelta(std::string_view next, const std::vector<Copy>& copies);

// What a delta copies, ascending by `to`. INVALID_ARGUMENT: not a delta.
[[nodiscard]] absl::StatusOr<std::vector<Copy>> CopiesOf(std::string_view delta);

}  // namespace understudy::delta
