#include "core/exports/own_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "core/base/log.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"

namespace understudy::exports {
namespace {

// NFS servers and administrators read it.
constexpr mode_t kFileMode = 0644;
constexpr mode_t kFolderMode = 0755;

absl::Status Failed(std::string_view what, const std::string& path) {
  return ErrnoStatus(errno, fmt::format("{} '{}'", what, Printable(path)));
}

}  // namespace

absl::StatusOr<std::optional<std::string>> ReadServerFile(const std::string& path) {
  const os::Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) {
    if (errno == ENOENT) return std::nullopt;
    return Failed("read", path);
  }
  struct stat raw {};
  if (fstat(file.get(), &raw) != 0) return Failed("look at", path);
  if (!S_ISREG(raw.st_mode)) {
    return absl::FailedPreconditionError(fmt::format("'{}' is no regular file", Printable(path)));
  }
  const auto size = static_cast<uint64_t>(raw.st_size);
  if (size > kMaxServerFileBytes) {
    return absl::FailedPreconditionError(
        fmt::format("'{}' is larger than {} bytes", Printable(path), kMaxServerFileBytes));
  }
  // Such files are replaced, never written in place, so this one keeps its size.
  absl::StatusOr<std::string> content = os::ReadAt(file.get(), 0, size);
  if (!content.ok()) return Annotate(content.status(), Printable(path));
  return *std::move(content);
}

absl::Status MakeServerFolder(const std::string& folder) {
  // Asked first: where nothing may be written, mkdir says that instead of EEXIST.
  struct stat raw {};
  if (stat(folder.c_str(), &raw) == 0 && S_ISDIR(raw.st_mode)) return absl::OkStatus();
  if (mkdir(folder.c_str(), kFolderMode) == 0) return absl::OkStatus();
  return ErrnoStatus(
      errno, fmt::format("make folder '{}' (or make it by hand, and let this agent write to it)", Printable(folder)));
}

absl::Status ReplaceOwnFile(const std::string& path, std::string_view content) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  // Its name has no ending that a server would read.
  const std::string fresh = path + ".new";
  {
    const os::Fd file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kFileMode));
    if (!file.valid()) return Failed("write", fresh);
    // The agent's umask is its own affair.
    if (fchmod(file.get(), kFileMode) != 0) return Failed("write", fresh);
    RETURN_IF_ERROR(Annotate(os::WriteAt(file.get(), 0, content), Printable(fresh)));
    RETURN_IF_ERROR(Annotate(os::SyncFile(file.get()), Printable(fresh)));
  }
  if (std::rename(fresh.c_str(), path.c_str()) != 0) return Failed("replace", path);
  const os::Fd opened(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened.valid()) return Failed("open", folder);
  return Annotate(os::SyncFile(opened.get()), Printable(folder));
}

}  // namespace understudy::exports
