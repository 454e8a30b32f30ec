// consistency.h: how much of one moment a state of a volume shows. Values.
#pragma once

#include <cstdint>
#include <string_view>

namespace understudy::model {

// Ascending: a later one promises all that those before it do.
enum class Consistency : uint8_t {
  kUnknown = 0,          // not told: the midst of a capture, or of a program that didn't say
  kFuzzy = 1,            // parts of it were read at different times, while something changed
  kCrashConsistent = 2,  // everything is as it was at one moment, as a power cut would have left it
  kQuiesced = 3,         // and whoever writes had brought its own data into order for that moment
};

// "unknown", "fuzzy", "crash-consistent", "quiesced".
[[nodiscard]] std::string_view ToString(Consistency consistency);
// kUnknown for whatever no number here stands for.
[[nodiscard]] Consistency ConsistencyOf(int64_t number);

}  // namespace understudy::model
