#include "core/os/command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "absl/time/clock.h"
#include "core/base/clock.h"
#include "core/os/fd.h"

extern char** environ;

namespace understudy::os {
namespace {

// Between looks at a process that closed its output, or was killed, and hasn't ended.
constexpr absl::Duration kEndStep = absl::Milliseconds(2);
// A killed process that isn't gone after this waits for something that no signal ends.
constexpr absl::Duration kKillPatience = absl::Seconds(1);

class SpawnPlan {
 public:
  explicit SpawnPlan(int output) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, output, STDERR_FILENO);
    // Libraries open some without O_CLOEXEC. A program that outlives this one would keep its ports from the next one.
    posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
    posix_spawnattr_init(&attributes_);
    // A group of its own, so that what it starts can be killed with it; no signal of ours is blocked or ignored in it.
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes_, 0);
    sigset_t signals;
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes_, &signals);
    sigaddset(&signals, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes_, &signals);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  // 0 or an errno.
  int Spawn(pid_t* pid, const std::vector<std::string>& arguments) const {
    std::vector<char*> pointers;
    pointers.reserve(arguments.size() + 1);
    for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    return posix_spawnp(pid, pointers[0], &actions_, &attributes_, pointers.data(), environ);
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

// Reads until the end or the deadline. False: the deadline came first.
bool ReadAll(int fd, absl::Duration deadline, std::string& output) {
  std::array<char, 4096> buffer{};
  while (true) {
    const absl::Duration left = deadline - Clock::System().Monotonic();
    if (left <= absl::ZeroDuration()) return false;
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    if (ready <= 0) continue;
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    output.append(buffer.data(), std::min(static_cast<size_t>(got), kMaxCommandOutputBytes - output.size()));
  }
}

// nullopt: it runs still.
std::optional<int> WaitUntil(pid_t pid, absl::Duration deadline) {
  while (true) {
    int status = 0;
    const pid_t ended = waitpid(pid, &status, WNOHANG);
    if (ended == pid) return status;
    if (ended < 0 && errno != EINTR) return 0;
    if (Clock::System().Monotonic() >= deadline) return std::nullopt;
    absl::SleepFor(kEndStep);
  }
}

}  // namespace

absl::StatusOr<CommandResult> CommandRunner::Run(const std::vector<std::string>& arguments, absl::Duration timeout) {
  const std::string& program = arguments.at(0);
  const absl::Duration deadline = Clock::System().Monotonic() + timeout;
  if (left_behind_) {
    if (!WaitUntil(*left_behind_, absl::ZeroDuration())) {
      return absl::UnavailableError(
          fmt::format("{} was killed and hasn't ended (process {}): see what it waits for", program, *left_behind_));
    }
    left_behind_.reset();
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  const Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  pid_t pid = -1;
  if (const int error = SpawnPlan(write_end.get()).Spawn(&pid, arguments); error != 0) {
    return ErrnoStatus(error, fmt::format("start {}", program));
  }
  write_end = Fd();
  CommandResult result;
  std::optional<int> ended;
  if (ReadAll(read_end.get(), deadline, result.output)) ended = WaitUntil(pid, deadline);
  if (!ended) {
    kill(-pid, SIGKILL);
    if (!WaitUntil(pid, Clock::System().Monotonic() + kKillPatience)) left_behind_ = pid;
    return absl::DeadlineExceededError(
        fmt::format("{} didn't end within {} and was killed", program, absl::FormatDuration(timeout)));
  }
  if (WIFEXITED(*ended)) result.exit_code = WEXITSTATUS(*ended);
  if (WIFSIGNALED(*ended)) result.signal = WTERMSIG(*ended);
  return result;
}

}  // namespace understudy::os
