#include "agent-primary/capture/changed_ranges.h"

#include <algorithm>

namespace understudy::primary {
namespace {

using Kind = os::Extent::Kind;

// More than this part of a file that isn't told where it is makes reading both files dearer than reading one.
constexpr uint64_t kLargestOpaqueDivisor = 8;

// Zeros are zeros, whether there is room for them or not.
bool HasBytesAt(const std::optional<os::Extent>& extent, uint64_t position) {
  return extent.has_value() && extent->offset <= position && extent->kind != Kind::kZeros;
}

}  // namespace

absl::StatusOr<bool> TellsPlaces(int fd, uint64_t size) {
  os::ExtentReader reader(fd, size);
  uint64_t opaque = 0;
  for (;;) {
    const absl::StatusOr<std::optional<os::Extent>> extent = reader.Next();
    if (absl::IsUnimplemented(extent.status())) return false;
    RETURN_IF_ERROR(extent.status());
    if (!extent->has_value()) return true;
    if ((*extent)->kind == Kind::kOpaque) opaque += (*extent)->length;
    if (opaque > size / kLargestOpaqueDivisor) return false;
  }
}

absl::Status ChangedRanges::Side::GoTo(uint64_t position) {
  while (!at_end && (!extent.has_value() || extent->offset + extent->length <= position)) {
    ASSIGN_OR_RETURN(extent, reader.Next());
    at_end = !extent.has_value();
    if (!at_end) ++extents;
  }
  return absl::OkStatus();
}

uint64_t ChangedRanges::Side::Until(uint64_t position, uint64_t end) const {
  if (!extent.has_value()) return end;
  return std::min(end, position < extent->offset ? extent->offset : extent->offset + extent->length);
}

bool ChangedRanges::SameAt(uint64_t position) const {
  const bool in_base = HasBytesAt(base_.extent, position);
  if (in_base != HasBytesAt(now_.extent, position)) return false;
  if (!in_base) return true;
  const bool placed = base_.extent->kind == Kind::kData && now_.extent->kind == Kind::kData;
  return placed && base_.extent->place + (position - base_.extent->offset) ==
                       now_.extent->place + (position - now_.extent->offset);
}

absl::StatusOr<std::optional<os::DataRange>> ChangedRanges::Next() {
  std::optional<os::DataRange> changed;
  while (position_ < end_) {
    RETURN_IF_ERROR(base_.GoTo(position_));
    RETURN_IF_ERROR(now_.GoTo(position_));
    if (SameAt(position_) && changed.has_value()) return changed;
    const uint64_t until = std::min(base_.Until(position_, end_), now_.Until(position_, end_));
    if (!SameAt(position_)) changed = os::DataRange{changed.has_value() ? changed->begin : position_, until};
    position_ = until;
  }
  return changed;
}

}  // namespace understudy::primary
