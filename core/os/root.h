// root.h: a folder that nothing can be led out of.
//
// Every path is resolved by openat2(2) with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS from the
// folder's descriptor, so neither "..", nor an absolute path, nor a symlink that somebody swaps in meanwhile leads
// elsewhere. Paths are relative (core/model/path.h) and may be longer than PATH_MAX.
#pragma once

#include <string>
#include <string_view>

#include "core/base/status.h"
#include "core/os/fd.h"
#include "core/os/stat.h"

namespace understudy::os {

// A folder and a name in it: what the *at() system calls work on.
struct ParentAndName {
  Fd folder;
  std::string name;
};

// Owns the folder's descriptor. Thread-safe: const calls only read it.
class Root {
 public:
  // `path` is absolute and trusted (from our own configuration); symlinks in it are followed.
  [[nodiscard]] static absl::StatusOr<Root> Open(const std::string& path);
  explicit Root(Fd folder) : folder_(std::move(folder)) {}

  [[nodiscard]] int fd() const { return folder_.get(); }

  // As openat2; O_CLOEXEC and O_NOFOLLOW are added. "" opens the root itself. NOT_FOUND when a part of the path is
  // missing or isn't a folder any more (ENOENT, ENOTDIR, ELOOP).
  [[nodiscard]] absl::StatusOr<Fd> OpenPath(std::string_view path, int flags, uint32_t mode = 0) const;

  // The folder that holds `path`, and its last name. `path` isn't "".
  [[nodiscard]] absl::StatusOr<ParentAndName> OpenParent(std::string_view path) const;

  // Without following a symlink.
  [[nodiscard]] absl::StatusOr<EntryStat> Stat(std::string_view path) const;

  // Where the link at `path` points to, as it stands there.
  [[nodiscard]] absl::StatusOr<std::string> ReadLink(std::string_view path) const;

 private:
  Fd folder_;
};

// readlinkat() of any length.
[[nodiscard]] absl::StatusOr<std::string> ReadLinkAt(int folder_fd, const std::string& name);

}  // namespace understudy::os
