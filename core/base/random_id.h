// random_id.h: names for what has to be told apart from everything else of its kind.
#pragma once

#include <string>

namespace understudy {

// 128 random bits as 32 lower-case hexadecimal digits.
[[nodiscard]] std::string RandomId();

}  // namespace understudy
