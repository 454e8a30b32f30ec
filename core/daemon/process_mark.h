// process_mark.h: who did something, told so that it can be found out later whether that process is still there.
#pragma once

#include <string>
#include <string_view>

namespace understudy::daemon {

// This process's number, when it was started and in which boot, as one line of text: no other process ever has the
// same, though numbers come again.
[[nodiscard]] std::string ProcessMark();

// Whether the process with that mark still runs. An empty mark is nobody's.
[[nodiscard]] bool IsAlive(std::string_view mark);

}  // namespace understudy::daemon
