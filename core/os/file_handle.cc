#include "core/os/file_handle.h"

#include <fcntl.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace understudy::os {
namespace {

constexpr size_t kMaxHandleBytes = MAX_HANDLE_SZ;

// struct file_handle with room for its bytes.
struct HandleBuffer {
  alignas(file_handle) char storage[sizeof(file_handle) + kMaxHandleBytes] = {};
  file_handle* raw() { return reinterpret_cast<file_handle*>(storage); }
  char* bytes() { return storage + offsetof(file_handle, f_handle); }
};

}  // namespace

absl::StatusOr<uint64_t> FilesystemOf(int fd) {
  struct statfs raw {};
  if (fstatfs(fd, &raw) != 0) return ErrnoStatus(errno, "statfs");
  uint64_t id = 0;
  static_assert(sizeof(raw.f_fsid) == sizeof(id));
  std::memcpy(&id, &raw.f_fsid, sizeof(id));
  return id;
}

absl::StatusOr<FileHandle> HandleOf(int fd) {
  HandleBuffer buffer;
  buffer.raw()->handle_bytes = kMaxHandleBytes;
  int mount = 0;
  if (name_to_handle_at(fd, "", buffer.raw(), &mount, AT_EMPTY_PATH) != 0) {
    if (errno == EOPNOTSUPP || errno == EOVERFLOW) {
      return absl::UnimplementedError("its filesystem has no file handles (it can't be exported over NFS either)");
    }
    return ErrnoStatus(errno, "name_to_handle_at");
  }
  ASSIGN_OR_RETURN(const uint64_t filesystem, FilesystemOf(fd));
  return FileHandle{filesystem, buffer.raw()->handle_type, std::string(buffer.bytes(), buffer.raw()->handle_bytes)};
}

absl::StatusOr<std::optional<Fd>> OpenHandle(int mount, const FileHandle& handle) {
  if (handle.bytes.size() > kMaxHandleBytes) return absl::InvalidArgumentError("a file handle that is too long");
  HandleBuffer buffer;
  buffer.raw()->handle_bytes = static_cast<unsigned>(handle.bytes.size());
  buffer.raw()->handle_type = handle.type;
  std::memcpy(buffer.bytes(), handle.bytes.data(), handle.bytes.size());
  Fd fd(open_by_handle_at(mount, buffer.raw(), O_PATH | O_CLOEXEC));
  if (fd.valid()) return fd;
  if (errno == ESTALE || errno == ENOENT) return std::nullopt;
  if (errno == EPERM) return absl::UnimplementedError("opening file handles needs CAP_DAC_READ_SEARCH");
  return ErrnoStatus(errno, "open_by_handle_at");
}

}  // namespace understudy::os
