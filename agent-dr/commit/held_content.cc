#include "agent-dr/commit/held_content.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "agent-dr/commit/file_clone.h"
#include "core/delta/content_digest.h"
#include "core/os/file_io.h"

namespace understudy::dr {
namespace {

// All from `begin` on becomes a hole.
absl::Status CutData(int file, uint64_t begin, uint64_t size) {
  RETURN_IF_ERROR(SetSize(file, begin));
  return SetSize(file, size);
}

absl::Status ReadAll(int file, uint64_t offset, std::span<char> buffer) {
  ASSIGN_OR_RETURN(const size_t got, os::ReadInto(file, offset, buffer));
  return got == buffer.size() ? absl::OkStatus() : absl::AbortedError("it was cut while it was read");
}

// The number of the first segment at or after `offset` that has data, if there is one.
absl::StatusOr<std::optional<uint64_t>> NextSegment(int file, uint64_t offset, uint64_t size) {
  ASSIGN_OR_RETURN(const std::optional<os::DataRange> data, os::NextData(file, offset));
  if (!data.has_value() || data->begin >= size) return std::nullopt;
  return std::max(data->begin, offset) / delta::kSegmentBytes;
}

// What `file` has of [begin, end).
absl::StatusOr<std::vector<ContentRange>> DataWithin(int file, uint64_t begin, uint64_t end) {
  std::vector<ContentRange> ranges;
  for (uint64_t at = begin; at < end;) {
    ASSIGN_OR_RETURN(const std::optional<os::DataRange> data, os::NextData(file, at));
    if (!data.has_value() || data->begin >= end) break;
    const uint64_t from = std::max(data->begin, at);
    const uint64_t to = std::min(data->end, end);
    AppendRange(ranges, {.offset = from, .length = to - from});
    at = to;
  }
  return ranges;
}

}  // namespace

absl::StatusOr<std::vector<model::SegmentDigest>> CutToHeldSegments(int file, uint64_t size, size_t max_segments) {
  RETURN_IF_ERROR(SetSize(file, size));
  std::vector<model::SegmentDigest> segments;
  std::string buffer(static_cast<size_t>(std::min(size, delta::kSegmentBytes)), '\0');
  for (uint64_t offset = 0; offset < size;) {
    ASSIGN_OR_RETURN(const std::optional<uint64_t> number, NextSegment(file, offset, size));
    if (!number.has_value()) break;
    const uint64_t begin = *number * delta::kSegmentBytes;
    if (segments.size() == max_segments) {
      RETURN_IF_ERROR(CutData(file, begin, size));
      break;
    }
    const auto length = static_cast<size_t>(std::min<uint64_t>(delta::kSegmentBytes, size - begin));
    RETURN_IF_ERROR(ReadAll(file, begin, std::span(buffer).first(length)));
    const std::string_view bytes = std::string_view(buffer).substr(0, length);
    if (!delta::IsAllZeros(bytes)) segments.push_back({*number, delta::DigestOfSegment(*number, bytes)});
    offset = begin + length;
  }
  return segments;
}

absl::StatusOr<HeldOverBase> CutToHeldOverBase(int file, int base, uint64_t base_size, uint64_t size,
                                               size_t max_segments) {
  RETURN_IF_ERROR(SetSize(file, size));
  HeldOverBase held;
  std::string buffer(static_cast<size_t>(std::min(size, delta::kSegmentBytes)), '\0');
  for (uint64_t offset = 0; offset < size;) {
    ASSIGN_OR_RETURN(const std::optional<uint64_t> number, NextSegment(file, offset, size));
    if (!number.has_value()) break;
    const uint64_t begin = *number * delta::kSegmentBytes;
    const uint64_t end = std::min(begin + delta::kSegmentBytes, size);
    ASSIGN_OR_RETURN(const std::vector<ContentRange> ranges, DataWithin(file, begin, end));
    if (held.segments.size() == max_segments || held.ranges.size() + ranges.size() > kFineContentRanges) {
      RETURN_IF_ERROR(CutData(file, begin, size));
      break;
    }
    const std::span<char> segment = std::span(buffer).first(static_cast<size_t>(end - begin));
    const size_t of_base = static_cast<size_t>(std::clamp(base_size, begin, end) - begin);
    RETURN_IF_ERROR(ReadAll(base, begin, segment.first(of_base)));
    std::fill(segment.begin() + static_cast<ptrdiff_t>(of_base), segment.end(), '\0');
    for (const ContentRange& range : ranges) {
      RETURN_IF_ERROR(ReadAll(file, range.offset, segment.subspan(range.offset - begin, range.length)));
    }
    const std::string_view bytes(segment.data(), segment.size());
    if (delta::IsAllZeros(bytes)) {  // a digest can't tell it
      RETURN_IF_ERROR(ZeroRange(file, begin, end - begin));
    } else {
      held.segments.push_back({*number, delta::DigestOfSegment(*number, bytes)});
      held.ranges.insert(held.ranges.end(), ranges.begin(), ranges.end());
    }
    offset = end;
  }
  return held;
}

}  // namespace understudy::dr
