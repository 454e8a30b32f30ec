#include "core/model/trash.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"

namespace understudy::model {

std::string_view ToString(TrashState state) {
  switch (state) {
    case TrashState::kMoving:
      return "moving";
    case TrashState::kTrashed:
      return "trashed";
    case TrashState::kRestoring:
      return "restoring";
    case TrashState::kPurging:
      return "purging";
  }
  AbortOnBrokenInvariant("known TrashState", __FILE__, __LINE__);
}

absl::StatusOr<TrashState> ParseTrashState(std::string_view text) {
  for (const TrashState state :
       {TrashState::kMoving, TrashState::kTrashed, TrashState::kRestoring, TrashState::kPurging}) {
    if (text == ToString(state)) return state;
  }
  return absl::InvalidArgumentError(fmt::format("unknown state '{}' of a trash entry", Printable(text)));
}

absl::Status ValidateTrashId(std::string_view id) {
  constexpr size_t kDigits = 32;
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (id.size() == kDigits && std::all_of(id.begin(), id.end(), is_digit)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("trash id '{}': use the {} digits that drctl trash list shows",
                                                Printable(id.substr(0, 2 * kDigits)), kDigits));
}

}  // namespace understudy::model
