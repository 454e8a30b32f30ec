// bounded_process.h: one program of the administrator's, run to its end within bounds of time and output.
//
// It gets a process group of its own, nothing of ours but what is said here, and doesn't outlive the call: when it
// ends, is late or isn't wanted any more, what is left of its group is killed. One that no signal ends (it waits for a
// disk, or an NFS server) is given up a second later, and buried by a later call once it has ended.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::dr {

struct ProcessSpec {
  std::string path;                      // absolute
  std::vector<std::string> environment;  // all of it, "NAME=value"
  std::string input;                     // on its stdin, a file of its own: it need not be read
  absl::Duration time_limit = absl::Minutes(1);
  size_t max_output_bytes = 16 * 1024;
  // Asked several times a second; true ends it. May be nullptr.
  std::function<bool()> cancelled;
};

struct ProcessOutcome {
  int exit_code = -1;  // -1: it was ended by a signal
  int signal = 0;
  bool late = false;            // killed at its time limit
  bool was_cancelled = false;   // killed because `cancelled` said so
  pid_t left_behind = 0;        // killed, and it didn't end; 0: it did
  std::string output;           // the end of what it wrote to stdout and stderr
  uint64_t left_out_bytes = 0;  // before that
};

// Runs it in the folder "/", with a clean signal mask. Anything that it does is an outcome; an error is that it
// couldn't be started. Thread-safe.
[[nodiscard]] absl::StatusOr<ProcessOutcome> RunBounded(const ProcessSpec& spec);

}  // namespace understudy::dr
