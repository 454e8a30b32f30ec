#include "control/apply/quantity.h"

#include "absl/strings/numbers.h"

namespace understudy::control {
namespace {

struct Suffix {
  std::string_view text;
  double factor;
};

constexpr double kKibi = 1024;
// The empty one last: every text ends with it.
constexpr Suffix kSuffixes[] = {
    {"Ki", kKibi},
    {"Mi", kKibi* kKibi},
    {"Gi", kKibi* kKibi* kKibi},
    {"Ti", kKibi* kKibi* kKibi* kKibi},
    {"Pi", kKibi* kKibi* kKibi* kKibi* kKibi},
    {"Ei", kKibi* kKibi* kKibi* kKibi* kKibi* kKibi},
    {"n", 1e-9},
    {"u", 1e-6},
    {"m", 1e-3},
    {"k", 1e3},
    {"M", 1e6},
    {"G", 1e9},
    {"T", 1e12},
    {"P", 1e15},
    {"E", 1e18},
    {"", 1},
};

}  // namespace

std::optional<double> ParseQuantity(std::string_view text) {
  // No "inf", "nan" or "0x10", which the number's parser would take.
  if (text.find_first_not_of("+-.0123456789eEKMGTPinumk") != std::string_view::npos) return std::nullopt;
  for (const Suffix& suffix : kSuffixes) {
    if (!text.ends_with(suffix.text)) continue;
    const std::string_view number = text.substr(0, text.size() - suffix.text.size());
    double value = 0;
    if (number.empty() || !absl::SimpleAtod(absl::string_view(number.data(), number.size()), &value)) {
      return std::nullopt;
    }
    return value * suffix.factor;
  }
  return std::nullopt;
}

}  // namespace understudy::control
