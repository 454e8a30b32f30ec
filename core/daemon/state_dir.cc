#include "core/daemon/state_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "core/base/log.h"

namespace understudy::daemon {
namespace {

std::string ReadPid(int fd) {
  char digits[16];
  const ssize_t length = pread(fd, digits, sizeof(digits), 0);
  std::string pid(digits, length > 0 ? static_cast<size_t>(length) : 0);
  pid.erase(std::find_if_not(pid.begin(), pid.end(), [](char c) { return c >= '0' && c <= '9'; }), pid.end());
  return pid.empty() ? "unknown" : pid;
}

absl::Status WritePid(int fd, const std::string& file) {
  const std::string line = fmt::format("{}\n", getpid());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, line.data(), line.size(), 0) != static_cast<ssize_t>(line.size())) {
    return ErrnoStatus(errno, fmt::format("can't write {}", file));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status MakeStateFolder(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::create_directories(path, error)) {
    std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
  }
  if (!error) return absl::OkStatus();
  return ErrnoStatus(error.value(), fmt::format("can't make state folder {}", Printable(path.native())));
}

absl::StatusOr<StateDir> StateDir::Acquire(const std::filesystem::path& path) {
  RETURN_IF_ERROR(MakeStateFolder(path));
  const std::string shown = Printable(path.native());
  const int fd = open((path / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoStatus(errno, fmt::format("can't open {}/lock", shown));
  StateDir held(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, fmt::format("can't lock {}/lock", shown));
    return absl::FailedPreconditionError(
        fmt::format("state folder {} is in use by process {}: stop that one, or give this one another state_dir", shown,
                    ReadPid(fd)));
  }
  RETURN_IF_ERROR(WritePid(fd, shown + "/lock"));
  return held;
}

StateDir::StateDir(StateDir&& other) noexcept : lock_fd_(std::exchange(other.lock_fd_, -1)) {}

StateDir::~StateDir() {
  if (lock_fd_ >= 0) close(lock_fd_);
}

}  // namespace understudy::daemon
