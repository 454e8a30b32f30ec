#include "tests/support/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fmt/core.h"
#include "tests/support/wait.h"

extern char** environ;

namespace understudy::tests {
namespace {

// Below Linux's range of ports for outgoing connections (32768 and up), so that none of those takes it meanwhile.
constexpr int kFirstPort = 20000;
constexpr int kPortCount = 12000;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

std::vector<std::string> MergedEnvironment(const ProcessOptions& options) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool replaced = std::any_of(options.environment.begin(), options.environment.end(),
                                      [&](const auto& added) { return text.starts_with(added.first + "="); });
    if (!replaced) merged.emplace_back(text);
  }
  for (const auto& [name, value] : options.environment) merged.push_back(fmt::format("{}={}", name, value));
  return merged;
}

std::vector<char*> NullTerminated(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// What the child needs, all of it allocated before the fork: after it only async-signal-safe calls are allowed.
struct ChildPlan {
  const char* program;
  char* const* arguments;
  char* const* environment;
  const char* working_directory;  // nullptr: stay
  int out;
  int err;
  int error_pipe;  // closed by a successful exec; else takes errno
  pid_t parent;
};

[[noreturn]] void RunChild(const ChildPlan& plan) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // A parent that died before the line above can't trigger it any more.
  if (getppid() != plan.parent) _exit(127);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = open("/dev/null", O_RDONLY);
  if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(plan.out, STDOUT_FILENO) >= 0 &&
      dup2(plan.err, STDERR_FILENO) >= 0 && (plan.working_directory == nullptr || chdir(plan.working_directory) == 0)) {
    execvpe(plan.program, plan.arguments, plan.environment);
  }
  const int error_number = errno;
  // Nobody is left to hear of a failure of this write.
  [[maybe_unused]] const ssize_t written = write(plan.error_pipe, &error_number, sizeof error_number);
  _exit(127);
}

int CreateOutput(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  UNDERSTUDY_CHECK(fd >= 0);
  return fd;
}

bool NothingListensOn(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  UNDERSTUDY_CHECK(fd >= 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool is_free = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return is_free;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Process>> Process::Start(const ProcessOptions& options) {
  std::unique_ptr<Process> process(new Process(options.program));
  std::vector<std::string> arguments = {options.program};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  std::vector<std::string> environment = MergedEnvironment(options);
  const std::vector<char*> argument_pointers = NullTerminated(arguments);
  const std::vector<char*> environment_pointers = NullTerminated(environment);
  int error_pipe[2];
  if (pipe2(error_pipe, O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  const int out = CreateOutput(process->output_.File("out"));
  const int err = CreateOutput(process->output_.File("err"));
  const ChildPlan plan = {
      .program = options.program.c_str(),
      .arguments = argument_pointers.data(),
      .environment = environment_pointers.data(),
      .working_directory = options.working_directory.empty() ? nullptr : options.working_directory.c_str(),
      .out = out,
      .err = err,
      .error_pipe = error_pipe[1],
      .parent = getpid()};
  const pid_t pid = fork();
  if (pid == 0) RunChild(plan);
  const int fork_error = errno;
  close(out);
  close(err);
  close(error_pipe[1]);
  int exec_error = 0;
  ssize_t received = 0;
  if (pid > 0) {
    do received = read(error_pipe[0], &exec_error, sizeof exec_error);
    while (received < 0 && errno == EINTR);
  }
  close(error_pipe[0]);
  if (pid < 0) return ErrnoStatus(fork_error, fmt::format("start {}", options.program));
  process->pid_ = pid;
  if (received > 0) return ErrnoStatus(exec_error, fmt::format("start {}", options.program));
  return process;
}

Process::~Process() {
  if (pid_ > 0) Kill();
}

bool Process::Reap() {
  if (wait_status_.has_value()) return true;
  int status = 0;
  const pid_t ended = waitpid(pid_, &status, WNOHANG);
  if (ended == 0) return false;
  UNDERSTUDY_CHECK(ended == pid_);
  wait_status_ = status;
  return true;
}

bool Process::Running() {
  const absl::MutexLock lock(&mutex_);
  return !Reap();
}

void Process::Signal(int number) {
  const absl::MutexLock lock(&mutex_);
  // Under the mutex nobody else reaps, so the pid can't have been given to another process.
  if (!Reap()) kill(pid_, number);
}

absl::StatusOr<ProcessResult> Process::Wait(absl::Duration timeout) {
  RETURN_IF_ERROR(WaitFor(program_ + " to end", timeout, [this] { return !Running(); }));
  return Result();
}

ProcessResult Process::Stop(absl::Duration patience) {
  Signal(SIGCONT);
  Signal(SIGTERM);
  absl::StatusOr<ProcessResult> result = Wait(patience);
  return result.ok() ? *std::move(result) : Kill();
}

ProcessResult Process::Kill() {
  Signal(SIGKILL);
  const absl::StatusOr<ProcessResult> result = Wait(absl::Minutes(1));
  UNDERSTUDY_CHECK(result.ok());
  return *result;
}

std::string Process::Out() const {
  return ReadFile(output_.File("out"));
}

std::string Process::Err() const {
  return ReadFile(output_.File("err"));
}

ProcessResult Process::Result() const {
  ProcessResult result{.out = Out(), .err = Err()};
  const absl::MutexLock lock(&mutex_);
  if (WIFEXITED(*wait_status_)) result.exit_code = WEXITSTATUS(*wait_status_);
  if (WIFSIGNALED(*wait_status_)) result.signal = WTERMSIG(*wait_status_);
  return result;
}

absl::StatusOr<ProcessResult> RunProcess(const ProcessOptions& options, absl::Duration timeout) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Process> process, Process::Start(options));
  absl::StatusOr<ProcessResult> result = process->Wait(timeout);
  if (result.ok()) return result;
  const ProcessResult killed = process->Kill();
  return Annotate(result.status(), "its stderr: " + killed.err);
}

absl::StatusOr<ProcessResult> RunTraced(std::vector<std::string> arguments, absl::Duration timeout) {
  return RunProcess(
      {.program = "strace", .arguments = std::move(arguments), .environment = {{"LSAN_OPTIONS", "detect_leaks=0"}}},
      timeout);
}

std::string ProgramPath(std::string_view name) {
  if (const char* folder = std::getenv("UNDERSTUDY_BIN"); folder != nullptr) return fmt::format("{}/{}", folder, name);
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

std::string SourcePath(std::string_view below) {
  const char* folder = std::getenv("UNDERSTUDY_SOURCE");
  UNDERSTUDY_CHECK(folder != nullptr);
  return fmt::format("{}/{}", folder, below);
}

int FreePort() {
  // Test programs run side by side: each begins somewhere else.
  static std::atomic<int> next{getpid() * 37};
  for (int attempt = 0; attempt < kPortCount; ++attempt) {
    const int port = kFirstPort + next.fetch_add(1) % kPortCount;
    if (NothingListensOn(port)) return port;
  }
  UNDERSTUDY_CHECK(false && "a free loopback port");
  return -1;
}

}  // namespace understudy::tests
