// command.h: another program run to its end, with a time limit that holds whatever the program does.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::os {

// Of what a program says, so much is kept; the rest is read and dropped.
inline constexpr size_t kMaxCommandOutputBytes = size_t{64} << 10;

struct CommandResult {
  int exit_code = -1;
  int signal = 0;      // not 0: ended by this signal, exit_code is -1
  std::string output;  // stdout and stderr as they came; bytes
};

// Runs one program at a time. Not thread-safe.
class CommandRunner {
 public:
  // `arguments[0]` is the program, looked up in PATH when it holds no slash; stdin is empty, and nothing else is open.
  // NOT_FOUND and other codes: it can't be started. DEADLINE_EXCEEDED: it still ran after `timeout` and was killed,
  // with all that it had started. One that can't even be killed (it waits for a disk) is left behind, and UNAVAILABLE
  // says so until it has ended.
  [[nodiscard]] absl::StatusOr<CommandResult> Run(const std::vector<std::string>& arguments, absl::Duration timeout);

 private:
  std::optional<pid_t> left_behind_;
};

}  // namespace understudy::os
