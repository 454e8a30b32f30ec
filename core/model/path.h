// path.h: paths inside a volume: bytes, relative to the volume's root, no leading or trailing slash; "" is the root
// itself.
//
// Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "core/base/status.h"

namespace understudy::model {

inline constexpr size_t kMaxNameBytes = 255;        // NAME_MAX
inline constexpr size_t kMaxPathBytes = 64 * 1024;  // deeper than PATH_MAX: folders are walked by descriptor

// INVALID_ARGUMENT unless `path` is "" or names joined by single slashes, none of them empty, "." or "..", none with a
// NUL or over kMaxNameBytes, in all at most kMaxPathBytes.
[[nodiscard]] absl::Status ValidatePath(std::string_view path);

// The order in which a walk meets paths: a folder before what is in it, names of one folder in byte order. Key() makes
// bytes whose plain order is this order: the slashes become NULs, which no name holds.
[[nodiscard]] std::string Key(std::string_view path);
[[nodiscard]] std::string PathOfKey(std::string_view key);

// "" for a path in the root, and for the root.
[[nodiscard]] std::string_view Parent(std::string_view path);
[[nodiscard]] std::string_view LeafName(std::string_view path);
[[nodiscard]] std::string Join(std::string_view folder, std::string_view name);
// Whether `path` is `folder` or lies below it.
[[nodiscard]] bool IsWithin(std::string_view path, std::string_view folder);

}  // namespace understudy::model
