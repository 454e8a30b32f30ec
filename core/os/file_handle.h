// file_handle.h: files by handle, as NFS servers open them: name_to_handle_at(2), open_by_handle_at(2).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "core/base/status.h"
#include "core/os/fd.h"

namespace understudy::os {

// A file wherever it stands. It holds over renames and restarts, and is stale once the file is gone.
struct FileHandle {
  uint64_t filesystem = 0;  // statfs(2)'s f_fsid, its first half in the low bits
  int32_t type = 0;
  std::string bytes;
  friend bool operator==(const FileHandle&, const FileHandle&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const FileHandle& handle) {
    return H::combine(std::move(state), handle.filesystem, handle.type, handle.bytes);
  }
};

// statfs(2)'s f_fsid, as in FileHandle.
[[nodiscard]] absl::StatusOr<uint64_t> FilesystemOf(int fd);

// UNIMPLEMENTED: the filesystem has none.
[[nodiscard]] absl::StatusOr<FileHandle> HandleOf(int fd);

// With O_PATH. `mount` is any descriptor on the filesystem that isn't O_PATH itself. nullopt: the handle is stale.
// UNIMPLEMENTED: without CAP_DAC_READ_SEARCH.
[[nodiscard]] absl::StatusOr<std::optional<Fd>> OpenHandle(int mount, const FileHandle& handle);

}  // namespace understudy::os
