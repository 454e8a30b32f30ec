#include "core/config/visitor.h"

#include <fmt/format.h>

#include <charconv>

#include "core/base/log.h"
#include "core/model/path.h"

namespace understudy::config {

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  uint32_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error == std::errc()) {
    const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
    if (unit == "ms") return absl::Milliseconds(count);
    if (unit == "s") return absl::Seconds(count);
    if (unit == "m") return absl::Minutes(count);
    if (unit == "h") return absl::Hours(count);
    if (unit == "d") return absl::Hours(24 * int64_t{count});
  }
  return absl::InvalidArgumentError(fmt::format("'{}': write a number and one of ms, s, m, h, d", Printable(text)));
}

std::string DurationText(absl::Duration duration) {
  const auto in_whole = [&](absl::Duration unit) { return duration % unit == absl::ZeroDuration(); };
  if (duration == absl::ZeroDuration()) return "0s";
  if (in_whole(absl::Hours(24))) return fmt::format("{}d", duration / absl::Hours(24));
  if (in_whole(absl::Hours(1))) return fmt::format("{}h", duration / absl::Hours(1));
  if (in_whole(absl::Minutes(1))) return fmt::format("{}m", duration / absl::Minutes(1));
  if (in_whole(absl::Seconds(1))) return fmt::format("{}s", duration / absl::Seconds(1));
  return fmt::format("{}ms", duration / absl::Milliseconds(1));
}

namespace {

struct SizeUnit {
  std::string_view name;
  uint64_t bytes;
};
constexpr SizeUnit kSizeUnits[] = {{"TiB", uint64_t{1} << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}};

}  // namespace

absl::StatusOr<uint64_t> ParseSize(std::string_view text) {
  constexpr uint64_t kMaxCount = uint64_t{1} << 20;  // of the largest unit, still far from wrapping
  uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  for (const SizeUnit& known : kSizeUnits) {
    if (error == std::errc() && unit == known.name && count <= kMaxCount) return count * known.bytes;
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}': write a number up to {} and one of KiB, MiB, GiB, TiB", Printable(text), kMaxCount));
}

std::string SizeText(uint64_t bytes) {
  for (const SizeUnit& unit : kSizeUnits) {
    if (bytes >= unit.bytes && bytes % unit.bytes == 0) return fmt::format("{}{}", bytes / unit.bytes, unit.name);
  }
  return fmt::format("{}KiB", bytes / 1024);
}

absl::Status CheckAddress(const std::string& text) {
  constexpr uint32_t kMaxPort = 65535;
  const size_t colon = text.rfind(':');
  if (colon != std::string::npos && colon > 0) {
    const std::string_view host = std::string_view(text).substr(0, colon);
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    const bool host_fits = bracketed || host.find_first_of("[]:/ \t") == std::string_view::npos;
    uint32_t port = 0;
    const char* const begin = text.data() + colon + 1;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(begin, end, port);
    if (host_fits && error == std::errc() && stop == end && port <= kMaxPort) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}': write host:port, as in nfs1.example.com:7411, 0.0.0.0:7411 or [::]:7411", Printable(text)));
}

absl::Status CheckAbsolutePath(const std::string& text) {
  if (text == "/" || (text.starts_with('/') && text.size() > 1 && model::ValidatePath(text.substr(1)).ok())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}': write an absolute path without '.', '..', '//' or a slash at its end", Printable(text)));
}

absl::Status CheckNotEmpty(const std::string& text) {
  return text.empty() ? absl::InvalidArgumentError("is empty: write text") : absl::OkStatus();
}

}  // namespace understudy::config
