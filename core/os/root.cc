#include "core/os/root.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <cerrno>
#include <vector>

#include "core/base/log.h"
#include "core/model/path.h"

namespace understudy::os {
namespace {

// One openat2 takes at most PATH_MAX bytes; longer paths are walked in pieces.
constexpr size_t kMaxPieceBytes = 4000;

absl::StatusOr<Fd> OpenBeneath(int folder_fd, const std::string& path, int flags, uint32_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW);
  how.mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const long fd = syscall(SYS_openat2, folder_fd, path.c_str(), &how, sizeof(how));
    if (fd >= 0) return Fd(static_cast<int>(fd));
    // EAGAIN: a rename raced with the look-up; the kernel asks to try again.
    if (errno == EAGAIN || errno == EINTR) continue;
    const std::string what = fmt::format("open '{}'", Printable(path));
    if (errno == ENOTDIR || errno == ELOOP) return absl::NotFoundError(what + ": a part of the path isn't a folder");
    return ErrnoStatus(errno, what);
  }
}

// Where the last slash stands that leaves at most kMaxPieceBytes before it.
size_t EndOfPiece(std::string_view path) {
  const size_t slash = path.rfind('/', kMaxPieceBytes);
  UNDERSTUDY_CHECK(slash != std::string_view::npos);  // names are at most 255 bytes long
  return slash;
}

}  // namespace

absl::StatusOr<Root> Root::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, fmt::format("open folder '{}'", Printable(path)));
  return Root(Fd(fd));
}

absl::StatusOr<Fd> Root::OpenPath(std::string_view path, int flags, uint32_t mode) const {
  RETURN_IF_ERROR(model::ValidatePath(path));
  if (path.empty()) return OpenBeneath(folder_.get(), ".", flags, mode);
  Fd at;
  while (path.size() > kMaxPieceBytes) {
    const size_t end = EndOfPiece(path);
    ASSIGN_OR_RETURN(at, OpenBeneath(at.valid() ? at.get() : folder_.get(), std::string(path.substr(0, end)),
                                     O_PATH | O_DIRECTORY, 0));
    path.remove_prefix(end + 1);
  }
  return OpenBeneath(at.valid() ? at.get() : folder_.get(), std::string(path), flags, mode);
}

absl::StatusOr<ParentAndName> Root::OpenParent(std::string_view path) const {
  UNDERSTUDY_CHECK(!path.empty());
  RETURN_IF_ERROR(model::ValidatePath(path));
  // Not O_PATH: the folder may have to be synced.
  ASSIGN_OR_RETURN(Fd folder, OpenPath(model::Parent(path), O_RDONLY | O_DIRECTORY));
  return ParentAndName{std::move(folder), std::string(model::LeafName(path))};
}

absl::StatusOr<EntryStat> Root::Stat(std::string_view path) const {
  if (path.empty()) return StatAt(folder_.get(), "");
  ASSIGN_OR_RETURN(const Fd folder, OpenPath(model::Parent(path), O_PATH | O_DIRECTORY));
  return StatAt(folder.get(), std::string(model::LeafName(path)));
}

absl::StatusOr<std::string> Root::ReadLink(std::string_view path) const {
  ASSIGN_OR_RETURN(const ParentAndName place, OpenParent(path));
  return ReadLinkAt(place.folder.get(), place.name);
}

absl::StatusOr<std::string> ReadLinkAt(int folder_fd, const std::string& name) {
  std::vector<char> buffer(256);
  for (;;) {
    const ssize_t length = readlinkat(folder_fd, name.c_str(), buffer.data(), buffer.size());
    if (length < 0) return ErrnoStatus(errno, fmt::format("readlink '{}'", Printable(name)));
    if (static_cast<size_t>(length) < buffer.size()) return std::string(buffer.data(), static_cast<size_t>(length));
    buffer.resize(buffer.size() * 2);  // it may have been cut
  }
}

}  // namespace understudy::os
