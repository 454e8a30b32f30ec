#include "core/delta/delta_commands.h"

#include <librsync.h>

#include <optional>

namespace understudy::delta {
namespace {

// A literal of 1 to 64 bytes has its length as its command. Otherwise the length follows, in 1, 2, 4 or 8 bytes; those
// of a copy come in two such numbers, where from and how many, each in the width that the command says.
constexpr uint8_t kEnd = 0;
constexpr uint8_t kLongestShortLiteral = 64;
constexpr uint8_t kLiteral = 65;
constexpr uint8_t kCopy = 69;
constexpr uint8_t kFirstReserved = 85;
constexpr uint8_t kWidths = 4;

// Which of the four widths: 1 << that many bytes.
uint8_t WidthOf(uint64_t number) {
  uint8_t width = 0;
  while (width + 1 < kWidths && number >> (8U << width) != 0) ++width;
  return width;
}

void Append(std::string& delta, uint64_t number, uint8_t width) {
  for (uint32_t byte = 1U << width; byte > 0; --byte) delta.push_back(static_cast<char>(number >> (8 * (byte - 1))));
}

void AppendLiteral(std::string& delta, std::string_view bytes) {
  if (bytes.empty()) return;
  if (bytes.size() <= kLongestShortLiteral) {
    delta.push_back(static_cast<char>(bytes.size()));
  } else {
    const uint8_t width = WidthOf(bytes.size());
    delta.push_back(static_cast<char>(kLiteral + width));
    Append(delta, bytes.size(), width);
  }
  delta.append(bytes);
}

void AppendCopy(std::string& delta, const Copy& copy) {
  const uint8_t from = WidthOf(copy.from);
  const uint8_t length = WidthOf(copy.length);
  delta.push_back(static_cast<char>(kCopy + kWidths * from + length));
  Append(delta, copy.from, from);
  Append(delta, copy.length, length);
}

std::optional<uint64_t> TakeNumber(std::string_view& delta, uint32_t width) {
  const size_t bytes = size_t{1} << width;
  if (delta.size() < bytes) return std::nullopt;
  uint64_t number = 0;
  for (const char byte : delta.substr(0, bytes)) number = number << 8 | static_cast<uint8_t>(byte);
  delta.remove_prefix(bytes);
  return number;
}

absl::Status NotADelta() {
  return absl::InvalidArgumentError("not a delta");
}

}  // namespace

std::string EncodeDelta(std::string_view next, const std::vector<Copy>& copies) {
  std::string delta;
  Append(delta, RS_DELTA_MAGIC, 2);
  uint64_t done = 0;
  for (const Copy& copy : copies) {
    AppendLiteral(delta, next.substr(done, copy.to - done));
    AppendCopy(delta, copy);
    done = copy.to + copy.length;
  }
  AppendLiteral(delta, next.substr(done));
  delta.push_back(static_cast<char>(kEnd));
  return delta;
}

absl::StatusOr<std::vector<Copy>> CopiesOf(std::string_view delta) {
  if (TakeNumber(delta, 2) != RS_DELTA_MAGIC) return NotADelta();
  std::vector<Copy> copies;
  uint64_t to = 0;
  while (!delta.empty()) {
    const auto command = static_cast<uint8_t>(delta.front());
    delta.remove_prefix(1);
    if (command == kEnd) return delta.empty() ? absl::StatusOr<std::vector<Copy>>(copies) : NotADelta();
    if (command >= kFirstReserved) return NotADelta();
    if (command < kCopy) {
      const std::optional<uint64_t> length =
          command <= kLongestShortLiteral ? std::optional<uint64_t>(command) : TakeNumber(delta, command - kLiteral);
      if (!length.has_value() || *length > delta.size()) return NotADelta();
      delta.remove_prefix(*length);
      to += *length;
      continue;
    }
    const std::optional<uint64_t> from = TakeNumber(delta, (command - kCopy) / kWidths);
    const std::optional<uint64_t> length = TakeNumber(delta, (command - kCopy) % kWidths);
    if (!from.has_value() || !length.has_value() || *length == 0) return NotADelta();
    copies.push_back({*from, to, *length});
    to += *length;
  }
  return NotADelta();
}

}  // namespace understudy::delta
