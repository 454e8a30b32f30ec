// version.h: which version of Understudy this is.
#pragma once

#include <string_view>

namespace understudy::daemon {

// As in CMakeLists.txt: "0.1.0".
[[nodiscard]] std::string_view SoftwareVersion();

}  // namespace understudy::daemon
