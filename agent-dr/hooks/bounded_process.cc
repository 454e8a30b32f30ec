#include "agent-dr/hooks/bounded_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/os/fd.h"

namespace understudy::dr {
namespace {

// A killed process that isn't gone after this waits for something that no signal ends, as a server's disk.
constexpr absl::Duration kKillPatience = absl::Seconds(1);
// How soon `cancelled` is noticed.
constexpr absl::Duration kLookInterval = absl::Milliseconds(200);

// The input as a file without a name: no pipe that could break or fill up, whether it is read or not.
absl::StatusOr<os::Fd> InputFile(const std::string& input) {
  os::Fd file(memfd_create("hook input", MFD_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, "make a file in memory");
  for (size_t done = 0; done < input.size();) {
    const ssize_t written = write(file.get(), input.data() + done, input.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, "write to a file in memory");
    done += static_cast<size_t>(written);
  }
  if (lseek(file.get(), 0, SEEK_SET) != 0) return ErrnoStatus(errno, "rewind a file in memory");
  return file;
}

struct Pipe {
  os::Fd read;
  os::Fd write;
};

absl::StatusOr<Pipe> OutputPipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  Pipe made{os::Fd(ends[0]), os::Fd(ends[1])};
  // Our end alone: what comes after the process's end is taken without waiting for those that may still hold it.
  if (fcntl(made.read.get(), F_SETFL, O_NONBLOCK) != 0) return ErrnoStatus(errno, "set up a pipe");
  return made;
}

// What posix_spawn is told; owns what it allocates.
class SpawnPlan {
 public:
  SpawnPlan(int input, int output) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    int failed = posix_spawn_file_actions_adddup2(&actions_, input, STDIN_FILENO);
    failed |= posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO);
    failed |= posix_spawn_file_actions_adddup2(&actions_, output, STDERR_FILENO);
    failed |= posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
    failed |= posix_spawn_file_actions_addchdir_np(&actions_, "/");
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    failed |= posix_spawnattr_setsigmask(&attributes_, &none);
    failed |= posix_spawnattr_setsigdefault(&attributes_, &all);
    failed |= posix_spawnattr_setpgroup(&attributes_, 0);
    failed |=
        posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    UNDERSTUDY_CHECK(failed == 0);  // but for a lack of memory, none of these can fail
  }
  ~SpawnPlan() {
    posix_spawnattr_destroy(&attributes_);
    posix_spawn_file_actions_destroy(&actions_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  absl::StatusOr<pid_t> Spawn(const ProcessSpec& spec) const {
    std::string path = spec.path;
    std::vector<std::string> environment = spec.environment;
    const std::array<char*, 2> arguments = {path.data(), nullptr};
    std::vector<char*> variables;
    for (std::string& variable : environment) variables.push_back(variable.data());
    variables.push_back(nullptr);
    pid_t pid = -1;
    const int error = posix_spawn(&pid, spec.path.c_str(), &actions_, &attributes_, arguments.data(), variables.data());
    if (error != 0) return ErrnoStatus(error, fmt::format("start '{}'", Printable(spec.path)));
    return pid;
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

// The last bytes of a stream, and how many came before.
class Tail {
 public:
  explicit Tail(size_t limit) : limit_(limit) {}
  // Takes what there is now; false: there won't be any more.
  bool TakeFrom(int fd) {
    std::array<char, 16 * 1024> buffer{};
    while (true) {
      const ssize_t count = read(fd, buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno == EAGAIN;
      if (count == 0) return false;
      kept_.append(buffer.data(), static_cast<size_t>(count));
      const size_t extra = kept_.size() - std::min(kept_.size(), limit_);
      kept_.erase(0, extra);
      left_out_ += extra;
    }
  }
  void MoveTo(ProcessOutcome& outcome) {
    outcome.output = std::move(kept_);
    outcome.left_out_bytes = left_out_;
  }

 private:
  const size_t limit_;
  std::string kept_;
  uint64_t left_out_ = 0;
};

// Waits until the process of `pidfd` has ended, without burying it, or can't be ended. What it writes is taken
// meanwhile.
void AwaitEnd(const ProcessSpec& spec, pid_t pid, int pidfd, int output, Tail& tail, ProcessOutcome& outcome) {
  absl::Duration deadline = Clock::System().Monotonic() + spec.time_limit;
  bool open = true;
  while (true) {
    std::array<pollfd, 2> waiting = {pollfd{pidfd, POLLIN, 0}, pollfd{open ? output : -1, POLLIN, 0}};
    const absl::Duration left = std::max(absl::ZeroDuration(), deadline - Clock::System().Monotonic());
    poll(waiting.data(), waiting.size(),
         static_cast<int>(absl::ToInt64Milliseconds(std::min(left, kLookInterval)) + 1));
    if ((waiting[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) open = tail.TakeFrom(output);
    if ((waiting[0].revents & POLLIN) != 0) return;
    const absl::Duration now = Clock::System().Monotonic();
    if (outcome.late || outcome.was_cancelled) {
      if (now >= deadline) return;
      continue;
    }
    outcome.late = now >= deadline;
    outcome.was_cancelled = !outcome.late && spec.cancelled != nullptr && spec.cancelled();
    if (!outcome.late && !outcome.was_cancelled) continue;
    kill(-pid, SIGKILL);
    deadline = now + kKillPatience;
  }
}

// Those that were given up: buried once they have ended.
class LeftBehind {
 public:
  void Add(pid_t pid) {
    absl::MutexLock lock(&mutex_);
    pids_.push_back(pid);
  }
  void Bury() {
    absl::MutexLock lock(&mutex_);
    std::erase_if(pids_, [](pid_t pid) { return waitpid(pid, nullptr, WNOHANG) != 0; });
  }

 private:
  absl::Mutex mutex_;
  std::vector<pid_t> pids_ ABSL_GUARDED_BY(mutex_);
};

LeftBehind& TheLeftBehind() {
  static LeftBehind left_behind;
  return left_behind;
}

// Buries a process that has been killed; nullopt: it hasn't ended within the patience.
std::optional<int> Bury(pid_t pid) {
  const absl::Duration deadline = Clock::System().Monotonic() + kKillPatience;
  while (true) {
    int status = 0;
    const pid_t ended = waitpid(pid, &status, WNOHANG);
    if (ended == pid) return status;
    if (ended < 0 && errno != EINTR) return 0;
    if (Clock::System().Monotonic() >= deadline) return std::nullopt;
    absl::SleepFor(absl::Milliseconds(1));
  }
}

}  // namespace

absl::StatusOr<ProcessOutcome> RunBounded(const ProcessSpec& spec) {
  TheLeftBehind().Bury();
  ASSIGN_OR_RETURN(os::Fd input, InputFile(spec.input));
  ASSIGN_OR_RETURN(Pipe output, OutputPipe());
  const SpawnPlan plan(input.get(), output.write.get());
  ASSIGN_OR_RETURN(const pid_t pid, plan.Spawn(spec));
  output.write = os::Fd();
  const os::Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  ProcessOutcome outcome;
  Tail tail(spec.max_output_bytes);
  if (pidfd.valid()) {
    AwaitEnd(spec, pid, pidfd.get(), output.read.get(), tail, outcome);
  }
  // While its leader isn't buried, no other group can have this number.
  kill(-pid, SIGKILL);
  const std::optional<int> status = Bury(pid);
  if (!status) TheLeftBehind().Add(pid);
  if (!pidfd.valid()) return absl::InternalError("a process can't be watched: the kernel is too old, or out of files");
  // A process that left the group can hold the pipe still: nobody waits for it.
  tail.TakeFrom(output.read.get());
  tail.MoveTo(outcome);
  if (!status) outcome.left_behind = pid;
  if (status && WIFEXITED(*status)) outcome.exit_code = WEXITSTATUS(*status);
  if (status && WIFSIGNALED(*status)) outcome.signal = WTERMSIG(*status);
  return outcome;
}

}  // namespace understudy::dr
