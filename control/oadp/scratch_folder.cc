#include "control/oadp/scratch_folder.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "core/base/log.h"

namespace understudy::control {

absl::StatusOr<ScratchFolder> ScratchFolder::Create(const std::filesystem::path& parent) {
  std::error_code no_temporary_folder;
  const std::filesystem::path below =
      parent.empty() ? std::filesystem::temp_directory_path(no_temporary_folder) : parent;
  std::string path = (below / "understudy-XXXXXX").native();
  if (mkdtemp(path.data()) == nullptr) {  // makes it with mode 0700
    return ErrnoStatus(errno, fmt::format("can't make a folder in {}", Printable(below.native())));
  }
  return ScratchFolder(path);
}

ScratchFolder::~ScratchFolder() {
  std::error_code stays_behind;
  if (!path_.empty()) std::filesystem::remove_all(path_, stays_behind);
}

}  // namespace understudy::control
