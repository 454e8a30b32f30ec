#include "core/model/consistency.h"

#include "core/base/status.h"

namespace understudy::model {

std::string_view ToString(Consistency consistency) {
  switch (consistency) {
    case Consistency::kUnknown:
      return "unknown";
    case Consistency::kFuzzy:
      return "fuzzy";
    case Consistency::kCrashConsistent:
      return "crash-consistent";
    case Consistency::kQuiesced:
      return "quiesced";
  }
  AbortOnBrokenInvariant("known Consistency", __FILE__, __LINE__);
}

Consistency ConsistencyOf(int64_t number) {
  const bool known = number >= 0 && number <= static_cast<int64_t>(Consistency::kQuiesced);
  return known ? static_cast<Consistency>(number) : Consistency::kUnknown;
}

}  // namespace understudy::model
