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

// The calls that change a file, by its descriptor; or, as those don't work on O_PATH ones, by the magic link that names
// exactly the file that the descriptor stands for.
class File {
 public:
  explicit File(int fd) : fd_(fd) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_PATH) != 0) link_ = fmt::format("/proc/self/fd/{}", fd);
  }

  // As the system calls.
  ssize_t List(char* names, size_t size) const {
    return link_.empty() ? flistxattr(fd_, names, size) : listxattr(link_.c_str(), names, size);
  }
  ssize_t Get(const char* name, char* value, size_t size) const {
    return link_.empty() ? fgetxattr(fd_, name, value, size) : getxattr(link_.c_str(), name, value, size);
  }
  [[nodiscard]] int Set(const model::Xattr& xattr) const {
    const char* const name = xattr.name.c_str();
    const std::string& value = xattr.value;
    return link_.empty() ? fsetxattr(fd_, name, value.data(), value.size(), 0)
                         : setxattr(link_.c_str(), name, value.data(), value.size(), 0);
  }
  [[nodiscard]] int Remove(const std::string& name) const {
    return link_.empty() ? fremovexattr(fd_, name.c_str()) : removexattr(link_.c_str(), name.c_str());
  }
  [[nodiscard]] int SetOwner(uint32_t uid, uint32_t gid) const { return fchownat(fd_, "", uid, gid, AT_EMPTY_PATH); }
  [[nodiscard]] int SetMode(uint32_t mode) const {
    return link_.empty() ? fchmod(fd_, mode) : chmod(link_.c_str(), mode);
  }
  [[nodiscard]] int SetTimes(const timespec* times) const {
    return link_.empty() ? futimens(fd_, times) : utimensat(AT_FDCWD, link_.c_str(), times, 0);
  }

 private:
  int fd_;
  std::string link_;  // empty: the descriptor does
};

// A name in a folder, itself rather than what it points to.
class Name {
 public:
  Name(int folder_fd, const std::string& name) : path_(fmt::format("/proc/self/fd/{}/{}", folder_fd, name)) {}
  ssize_t List(char* names, size_t size) const { return llistxattr(path_.c_str(), names, size); }
  ssize_t Get(const char* name, char* value, size_t size) const { return lgetxattr(path_.c_str(), name, value, size); }

 private:
  std::string path_;
};

bool IsLabel(std::string_view name) {
  return name == "security.selinux";
}

// Whether the error says "there are no xattrs here" rather than "something failed".
bool MeansNone(int error_number) {
  return error_number == ENOTSUP || error_number == ENODATA;
}

template <typename Entry>
absl::StatusOr<std::vector<model::Xattr>> ReadXattrsOf(const Entry& entry, Labels labels) {
  // Nearly all files have none, so the first try is on the stack and small.
  char small[512];
  std::string names;
  ssize_t length = entry.List(small, sizeof(small));
  if (length >= 0) {
    names.assign(small, static_cast<size_t>(length));
  } else if (errno == ERANGE) {
    names.resize(kMaxXattrListBytes);
    length = entry.List(names.data(), names.size());
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
    const ssize_t size = entry.Get(name, value.data(), value.size());
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

absl::Status RemoveXattr(const File& file, const std::string& name) {
  if (file.Remove(name) == 0 || MeansNone(errno)) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("remove xattr '{}'", Printable(name)));
}

// Those of `wanted` that `present` lacks.
absl::Status SetMissing(const File& file, const std::vector<model::Xattr>& wanted,
                        const std::vector<model::Xattr>& present) {
  for (const model::Xattr& xattr : wanted) {
    if (std::find(present.begin(), present.end(), xattr) != present.end()) continue;
    if (file.Set(xattr) != 0) return ErrnoStatus(errno, fmt::format("set xattr '{}'", Printable(xattr.name)));
  }
  return absl::OkStatus();
}

absl::Status SetXattrs(const File& file, const std::vector<model::Xattr>& wanted) {
  ASSIGN_OR_RETURN(std::vector<model::Xattr> present, ReadXattrsOf(file, Labels::kTake));
  std::erase_if(present, [](const model::Xattr& xattr) { return IsLabel(xattr.name); });
  const auto is_wanted = [&](const model::Xattr& xattr) {
    return std::any_of(wanted.begin(), wanted.end(), [&](const auto& other) { return other.name == xattr.name; });
  };
  for (const model::Xattr& xattr : present) {
    if (!is_wanted(xattr)) RETURN_IF_ERROR(RemoveXattr(file, xattr.name));
  }
  std::erase_if(present, [&](const model::Xattr& xattr) { return !is_wanted(xattr); });
  const absl::Status set = SetMissing(file, wanted, present);
  if (!absl::IsResourceExhausted(set) || present.empty()) return set;
  // What was there may be in the way, by its size or by its place: all of them may fit where none is.
  for (const model::Xattr& xattr : wanted) RETURN_IF_ERROR(RemoveXattr(file, xattr.name));
  return SetMissing(file, wanted, {});
}

}  // namespace

absl::StatusOr<std::vector<model::Xattr>> ReadXattrs(int folder_fd, const std::string& name, Labels labels) {
  if (name.empty()) return ReadXattrsOf(File(folder_fd), labels);
  return ReadXattrsOf(Name(folder_fd, name), labels);
}

absl::Status ApplyMetadata(int fd, model::FileKind kind, const model::Metadata& metadata) {
  const File file(fd);
  struct stat present {};
  if (fstatat(fd, "", &present, AT_EMPTY_PATH) != 0) return ErrnoStatus(errno, "stat what metadata is set of");
  const bool other_owner = present.st_uid != metadata.uid || present.st_gid != metadata.gid;
  if (other_owner && file.SetOwner(metadata.uid, metadata.gid) != 0) return ErrnoStatus(errno, "set owner");
  // After the owner, whose change clears setuid; before the ACL, whose mask the group bits are.
  const bool other_mode = other_owner || (present.st_mode & 07777) != metadata.mode;
  if (kind != model::FileKind::kSymlink && other_mode && file.SetMode(metadata.mode) != 0) {
    return ErrnoStatus(errno, "set mode");
  }
  RETURN_IF_ERROR(SetXattrs(file, metadata.xattrs));
  const timespec times[2] = {
      {0, UTIME_OMIT}, {static_cast<time_t>(metadata.mtime_seconds), static_cast<long>(metadata.mtime_nanoseconds)}};
  return file.SetTimes(times) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "set mtime");
}

}  // namespace understudy::os
