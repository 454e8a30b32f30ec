#include "core/os/metadata.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/base/log.h"

namespace understudy::os {
namespace {

// xattr calls work on paths or open descriptors, not on O_PATH ones; the magic link names exactly the file that the
// descriptor stands for.
std::string MagicLink(int fd) {
  return fmt::format("/proc/self/fd/{}", fd);
}

bool IsLabel(std::string_view name) {
  return name == "security.selinux";
}

// Whether the error says "there are no xattrs here" rather than "something failed".
bool MeansNone(int error_number) {
  return error_number == ENOTSUP || error_number == ENODATA;
}

using ListCall = ssize_t (*)(const char*, char*, size_t);
using GetCall = ssize_t (*)(const char*, const char*, void*, size_t);

// `list` and `get` either follow the last link (magic links) or don't (names).
absl::StatusOr<std::vector<model::Xattr>> ReadXattrsOf(const std::string& path, ListCall list, GetCall get,
                                                       Labels labels) {
  // Nearly all files have none, so the first try is on the stack and small.
  char small[512];
  std::string names;
  ssize_t length = list(path.c_str(), small, sizeof(small));
  if (length >= 0) {
    names.assign(small, static_cast<size_t>(length));
  } else if (errno == ERANGE) {
    names.resize(kMaxXattrListBytes);
    length = list(path.c_str(), names.data(), names.size());
    if (length >= 0) names.resize(static_cast<size_t>(length));
  }
  if (length < 0) {
    if (MeansNone(errno)) return std::vector<model::Xattr>();
    return ErrnoStatus(errno, "list xattrs");
  }
  std::vector<model::Xattr> xattrs;
  for (size_t begin = 0; begin < names.size();) {
    const char* name = names.c_str() + begin;
    begin += std::strlen(name) + 1;
    if (labels == Labels::kOmit && IsLabel(name)) continue;
    std::string value(kMaxXattrValueBytes, '\0');
    const ssize_t size = get(path.c_str(), name, value.data(), value.size());
    if (size < 0) {
      if (MeansNone(errno)) continue;  // removed meanwhile
      return ErrnoStatus(errno, fmt::format("read xattr '{}'", Printable(name)));
    }
    value.resize(static_cast<size_t>(size));
    value.shrink_to_fit();
    xattrs.push_back({name, std::move(value)});
  }
  std::sort(xattrs.begin(), xattrs.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return xattrs;
}

absl::Status RemoveXattr(const std::string& path, const std::string& name) {
  if (removexattr(path.c_str(), name.c_str()) == 0 || MeansNone(errno)) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("remove xattr '{}'", Printable(name)));
}

// Those of `wanted` that `present` lacks.
absl::Status SetMissing(const std::string& path, const std::vector<model::Xattr>& wanted,
                        const std::vector<model::Xattr>& present) {
  for (const model::Xattr& xattr : wanted) {
    if (std::find(present.begin(), present.end(), xattr) != present.end()) continue;
    if (setxattr(path.c_str(), xattr.name.c_str(), xattr.value.data(), xattr.value.size(), 0) != 0) {
      return ErrnoStatus(errno, fmt::format("set xattr '{}'", Printable(xattr.name)));
    }
  }
  return absl::OkStatus();
}

absl::Status SetXattrs(const std::string& path, const std::vector<model::Xattr>& wanted) {
  ASSIGN_OR_RETURN(std::vector<model::Xattr> present, ReadXattrsOf(path, listxattr, getxattr, Labels::kTake));
  std::erase_if(present, [](const model::Xattr& xattr) { return IsLabel(xattr.name); });
  const auto is_wanted = [&](const model::Xattr& xattr) {
    return std::any_of(wanted.begin(), wanted.end(), [&](const auto& other) { return other.name == xattr.name; });
  };
  for (const model::Xattr& xattr : present) {
    if (!is_wanted(xattr)) RETURN_IF_ERROR(RemoveXattr(path, xattr.name));
  }
  std::erase_if(present, [&](const model::Xattr& xattr) { return !is_wanted(xattr); });
  const absl::Status set = SetMissing(path, wanted, present);
  if (!absl::IsResourceExhausted(set) || present.empty()) return set;
  // What was there may be in the way, by its size or by its place: all of them may fit where none is.
  for (const model::Xattr& xattr : wanted) RETURN_IF_ERROR(RemoveXattr(path, xattr.name));
  return SetMissing(path, wanted, {});
}

}  // namespace

absl::StatusOr<std::vector<model::Xattr>> ReadXattrs(int folder_fd, const std::string& name, Labels labels) {
  const std::string folder = MagicLink(folder_fd);
  if (name.empty()) return ReadXattrsOf(folder, listxattr, getxattr, labels);
  return ReadXattrsOf(folder + "/" + name, llistxattr, lgetxattr, labels);
}

absl::Status ApplyMetadata(int fd, model::FileKind kind, const model::Metadata& metadata) {
  const std::string path = MagicLink(fd);
  if (fchownat(fd, "", metadata.uid, metadata.gid, AT_EMPTY_PATH) != 0) return ErrnoStatus(errno, "set owner");
  // After the owner, whose change clears setuid; before the ACL, whose mask the group bits are.
  if (kind != model::FileKind::kSymlink && chmod(path.c_str(), metadata.mode) != 0) {
    return ErrnoStatus(errno, "set mode");
  }
  RETURN_IF_ERROR(SetXattrs(path, metadata.xattrs));
  const timespec times[2] = {
      {0, UTIME_OMIT}, {static_cast<time_t>(metadata.mtime_seconds), static_cast<long>(metadata.mtime_nanoseconds)}};
  if (utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) return ErrnoStatus(errno, "set mtime");
  return absl::OkStatus();
}

}  // namespace understudy::os
