#include "core/model/verify.h"

#include <array>
#include <string>

namespace understudy::model {
namespace {

constexpr std::array<std::string_view, 4> kDepths = {"exists", "metadata", "digests", "kept"};
constexpr std::array<std::string_view, 16> kKinds = {"folder", "incomplete", "empty",   "missing",   "extra",  "kind",
                                                     "size",   "mode",       "owner",   "mtime",     "xattrs", "target",
                                                     "device", "links",      "content", "unreadable"};

template <typename Enum, size_t kCount>
absl::StatusOr<Enum> Parse(const std::array<std::string_view, kCount>& names, std::string_view text, const char* what) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == text) return static_cast<Enum>(i);
  }
  return absl::InvalidArgumentError(std::string("there is no such ") + what);
}

}  // namespace

std::string_view ToString(VerifyDepth depth) {
  return kDepths.at(static_cast<size_t>(depth));
}
absl::StatusOr<VerifyDepth> ParseVerifyDepth(std::string_view text) {
  return Parse<VerifyDepth>(kDepths, text, "depth of a verification: it is exists, metadata, digests or kept");
}
std::string_view ToString(DifferenceKind kind) {
  return kKinds.at(static_cast<size_t>(kind));
}
absl::StatusOr<DifferenceKind> ParseDifferenceKind(std::string_view text) {
  return Parse<DifferenceKind>(kKinds, text, "kind of difference");
}

}  // namespace understudy::model
