// picture.h: a folder tree as values, to be remembered and compared after the tree has gone on.
#pragma once

#include <map>
#include <string>

#include "core/base/status.h"

namespace understudy::sim {

// By path ("" is the root): kind, mode, owner, mtime, xattrs, size, content digest, target and device, and
// which earlier path is a name of the same file, as text.
using Picture = std::map<std::string, std::string>;

[[nodiscard]] absl::StatusOr<Picture> TakePicture(const std::string& path);

// One line for each difference.
[[nodiscard]] std::string Differences(const Picture& expected, const Picture& found);

}  // namespace understudy::sim
