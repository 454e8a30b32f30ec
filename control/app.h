// app.h: drctl's command line: from the arguments to one of the commands in control/commands.
#pragma once

#include <string>
#include <vector>

#include "control/commands/output.h"

namespace understudy::control {

// Parses the arguments (without the program's name), runs the command and returns the process's exit code
// (core/base/status.h). Data goes to `console.out`, messages to `console.err`.
[[nodiscard]] int RunDrctl(std::vector<std::string> arguments, const Console& console);

}  // namespace understudy::control
