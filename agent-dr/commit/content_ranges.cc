#include "agent-dr/commit/content_ranges.h"

#include <endian.h>

#include <cstring>

#include "core/delta/content_digest.h"

namespace understudy::dr {
namespace {

constexpr size_t kRangeBytes = 16;
constexpr uint64_t kHoleBit = uint64_t{1} << 63;  // of the length, which is that of a file and never reaches it

void StoreLittleEndian(char* at, uint64_t value) {
  value = htole64(value);
  std::memcpy(at, &value, sizeof(value));
}

uint64_t LoadLittleEndian(const char* at) {
  uint64_t value = 0;
  std::memcpy(&value, at, sizeof(value));
  return le64toh(value);
}

}  // namespace

void AppendRange(std::vector<ContentRange>& ranges, ContentRange range) {
  if (!ranges.empty()) {
    ContentRange& last = ranges.back();
    if (last.hole == range.hole && last.offset + last.length == range.offset) {
      last.length += range.length;
      return;
    }
  }
  ranges.push_back(range);
}

std::vector<ContentRange> ChangedBlocks(std::string_view base, std::string_view next, uint64_t offset) {
  std::vector<ContentRange> changed;
  for (uint64_t at = 0; at < next.size(); at += kChangedBlockBytes) {
    const std::string_view block = next.substr(at, kChangedBlockBytes);
    const std::string_view before = at < base.size() ? base.substr(at, block.size()) : std::string_view();
    const bool same = block.substr(0, before.size()) == before && delta::IsAllZeros(block.substr(before.size()));
    if (!same) AppendRange(changed, {.offset = offset + at, .length = block.size()});
  }
  return changed;
}

std::string SerializeRanges(const std::vector<ContentRange>& ranges) {
  std::string bytes(ranges.size() * kRangeBytes, '\0');
  char* at = bytes.data();
  for (const ContentRange& range : ranges) {
    StoreLittleEndian(at, range.offset);
    StoreLittleEndian(at + 8, range.length | (range.hole ? kHoleBit : 0));
    at += kRangeBytes;
  }
  return bytes;
}

absl::StatusOr<std::vector<ContentRange>> ParseRanges(std::string_view bytes) {
  if (bytes.size() % kRangeBytes != 0 || bytes.size() / kRangeBytes > kMaxContentRanges) {
    return absl::DataLossError("the ranges of a patch are damaged");
  }
  std::vector<ContentRange> ranges;
  ranges.reserve(bytes.size() / kRangeBytes);
  for (; !bytes.empty(); bytes.remove_prefix(kRangeBytes)) {
    const uint64_t length = LoadLittleEndian(bytes.data() + 8);
    ranges.push_back({LoadLittleEndian(bytes.data()), length & ~kHoleBit, (length & kHoleBit) != 0});
  }
  return ranges;
}

}  // namespace understudy::dr
