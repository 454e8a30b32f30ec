#include "core/model/point_tree.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"

namespace understudy::model {
namespace {

constexpr PointTreeState kStates[] = {PointTreeState::kMaking, PointTreeState::kReady, PointTreeState::kRemoving};

}  // namespace

std::string_view ToString(PointTreeState state) {
  switch (state) {
    case PointTreeState::kMaking:
      return "making";
    case PointTreeState::kReady:
      return "ready";
    case PointTreeState::kRemoving:
      return "removing";
  }
  AbortOnBrokenInvariant("known PointTreeState", __FILE__, __LINE__);
}

absl::StatusOr<PointTreeState> ParsePointTreeState(std::string_view text) {
  for (const PointTreeState state : kStates) {
    if (text == ToString(state)) return state;
  }
  return absl::InvalidArgumentError(fmt::format("state '{}' of a tree: not known", Printable(text)));
}

absl::Status ValidatePointTreeId(std::string_view id) {
  constexpr size_t kDigits = 32;
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (id.size() == kDigits && std::all_of(id.begin(), id.end(), is_digit)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("tree '{}': use the {} digits that drctl points list shows",
                                                Printable(id.substr(0, 2 * kDigits)), kDigits));
}

}  // namespace understudy::model
