// archive_path.h: what the path of an entry in a Velero backup's archive says (backup_archive.h shows them all). Pure.
#pragma once

#include <string>
#include <string_view>

#include "core/base/status.h"

namespace understudy::control {

struct ArchivePath {
  enum class Kind {
    kVersion,  // metadata/version
    kObject,   // the plain path of an object
    kOther,    // nothing that is read: an object's copy below a version folder, or what a later Velero adds
  };
  Kind kind = Kind::kOther;
  // Of an object.
  std::string resource = {};        // "persistentvolumeclaims", "virtualmachines.kubevirt.io"
  std::string namespace_name = {};  // empty: not namespaced
  std::string name = {};
};

// INVALID_ARGUMENT: it is absolute, or has an empty, "." or ".." part, or a zero byte.
[[nodiscard]] absl::StatusOr<ArchivePath> ParseArchivePath(std::string_view path);

}  // namespace understudy::control
