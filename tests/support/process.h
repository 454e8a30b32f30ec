// process.h: a real program run by a test: started, watched, signalled and never left behind.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/status.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {

struct ProcessOptions {
  // Looked up in PATH when it holds no slash.
  std::string program;
  std::vector<std::string> arguments = {};
  // Set in the child over the test's own environment.
  std::vector<std::pair<std::string, std::string>> environment = {};
  // Empty: the test's own.
  std::string working_directory = {};
};

// How a process ended: by exit (exit_code) or by a signal (signal, exit_code is -1).
struct ProcessResult {
  int exit_code = -1;
  int signal = 0;
  std::string out = {};
  std::string err = {};
};

// A child process. Its stdout and stderr go to files, so that no pipe fills up and what it said can be read at any
// time. It is killed (SIGKILL) when the object goes, and by the kernel when the test dies; its own children are not, so
// give a shell script a trap or `exec`. The kernel's signal goes out when the *thread* that called Start ends: start
// from one that lives as long as the test. Thread-safe.
class Process {
 public:
  // NOT_FOUND: no such program.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Process>> Start(const ProcessOptions& options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] pid_t Pid() const { return pid_; }
  // False once it has ended, also when nobody waited for it yet.
  [[nodiscard]] bool Running();

  // Sends a signal to this very process; one that has ended already is fine.
  void Signal(int number);
  // DEADLINE_EXCEEDED when it still runs after `timeout`; may be called again then.
  [[nodiscard]] absl::StatusOr<ProcessResult> Wait(absl::Duration timeout);
  // SIGTERM, then SIGKILL when that didn't end it within `patience`.
  ProcessResult Stop(absl::Duration patience = absl::Seconds(10));
  // SIGKILL, as `kill -9` would.
  ProcessResult Kill();

  // What it has written so far.
  [[nodiscard]] std::string Out() const;
  [[nodiscard]] std::string Err() const;

 private:
  explicit Process(std::string program) : program_(std::move(program)) {}
  // Collects the exit status if the process has ended.
  bool Reap() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] ProcessResult Result() const;

  const std::string program_;
  TempDir output_;
  pid_t pid_ = -1;
  mutable absl::Mutex mutex_;
  // As waitpid gave it; absent while the process runs.
  std::optional<int> wait_status_ ABSL_GUARDED_BY(mutex_);
};

// Runs a program to its end. DEADLINE_EXCEEDED kills it; any exit code is a result, not an error.
[[nodiscard]] absl::StatusOr<ProcessResult> RunProcess(const ProcessOptions& options,
                                                       absl::Duration timeout = absl::Seconds(60));

// Runs `strace ARGUMENTS…`. A program that is traced can't look for leaks, so one that would doesn't.
[[nodiscard]] absl::StatusOr<ProcessResult> RunTraced(std::vector<std::string> arguments, absl::Duration timeout);

// The path of one of the project's programs ("drctl") in the build's bin folder, which ctest hands over in
// UNDERSTUDY_BIN; run by hand, a test finds it beside itself.
[[nodiscard]] std::string ProgramPath(std::string_view name);

// The top folder of the source tree (UNDERSTUDY_SOURCE, as ctest sets it).
[[nodiscard]] std::string SourcePath(std::string_view below);

// A loopback TCP port that nothing listens on, different for each call of one process.
[[nodiscard]] int FreePort();

}  // namespace understudy::tests
