// named.h: the values of an enumeration and their names, as a table that is read both ways. Pure.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string_view>

#include "core/base/status.h"

namespace understudy {

template <class Enum>
struct Named {
  Enum value;
  std::string_view name;
};

// Every value that comes must be in the table: a missing one is a broken invariant.
template <class Enum, size_t kSize>
[[nodiscard]] std::string_view NameOf(const Named<Enum> (&names)[kSize], Enum value) {
  for (const Named<Enum>& named : names) {
    if (named.value == value) return named.name;
  }
  AbortOnBrokenInvariant("a value with a name", __FILE__, __LINE__);
}

// INVALID_ARGUMENT: no value has that name; `whose` says what was read ("a run", "a report").
template <class Enum, size_t kSize>
[[nodiscard]] absl::StatusOr<Enum> ValueOf(const Named<Enum> (&names)[kSize], std::string_view text,
                                           std::string_view whose) {
  for (const Named<Enum>& named : names) {
    if (named.name == text) return named.value;
  }
  return absl::InvalidArgumentError(fmt::format("'{}' isn't known to {}", text, whose));
}

}  // namespace understudy
