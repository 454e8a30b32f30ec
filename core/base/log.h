// log.h: the log of a program, on stderr (the journal, under systemd).
//
// Programs log; libraries return errors. One line an event: level, what happened, then key=value pairs. Under systemd
// the level travels as the "<N>" prefix that the journal reads and the time is left to the journal. Thread-safe.
#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <string_view>

#include "core/base/status.h"

namespace understudy {

// Sets up the process's logger. `level` is one of debug, info, warning, error; anything else is INVALID_ARGUMENT.
// To be called once, before any thread logs.
[[nodiscard]] absl::Status SetUpLog(std::string_view level);

// Bytes of a user's file name as they may stand in a log line or on a terminal: printable UTF-8 stays, every other byte
// and the backslash become \xNN.
[[nodiscard]] std::string Printable(std::string_view bytes);

}  // namespace understudy
