#include "core/os/extents.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <span>

namespace understudy::os {
namespace {

constexpr uint32_t kBatch = 512;
// What says nothing of where the bytes are.
constexpr uint32_t kHarmless = FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_MERGED | FIEMAP_EXTENT_SHARED;

// A fiemap with room for so many extents.
template <size_t kExtents>
struct MapBuffer {
  [[nodiscard]] fiemap& map() { return *reinterpret_cast<fiemap*>(bytes.data()); }
  alignas(fiemap) std::array<std::byte, sizeof(fiemap) + kExtents * sizeof(fiemap_extent)> bytes{};
};

absl::Status Ask(int fd, fiemap& map) {
  if (ioctl(fd, FS_IOC_FIEMAP, &map) == 0) return absl::OkStatus();
  if (errno == EOPNOTSUPP || errno == ENOTTY) return absl::UnimplementedError("its filesystem tells no extents");
  return ErrnoStatus(errno, "ask for a file's extents");
}

}  // namespace

Extent::Kind KindOf(uint32_t flags) {
  if ((flags & ~(kHarmless | FIEMAP_EXTENT_UNWRITTEN)) != 0) return Extent::Kind::kOpaque;
  return (flags & FIEMAP_EXTENT_UNWRITTEN) != 0 ? Extent::Kind::kZeros : Extent::Kind::kData;
}

absl::StatusOr<uint64_t> CountExtents(int fd) {
  // XFS has counted them; others say 0, or don't know the call.
  fsxattr attributes{};
  if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0 && attributes.fsx_nextents > 0) return attributes.fsx_nextents;
  MapBuffer<0> buffer;
  fiemap& map = buffer.map();
  map.fm_length = FIEMAP_MAX_OFFSET;
  RETURN_IF_ERROR(Ask(fd, map));
  return map.fm_mapped_extents;
}

absl::StatusOr<std::optional<Extent>> ExtentReader::Next() {
  while (next_ == batch_.size()) {
    if (at_end_ || asked_to_ >= end_) return std::nullopt;
    RETURN_IF_ERROR(Fill());
  }
  return batch_[next_++];
}

absl::Status ExtentReader::Fill() {
  MapBuffer<kBatch> buffer;
  fiemap& map = buffer.map();
  map.fm_start = asked_to_;
  map.fm_length = end_ - asked_to_;
  map.fm_extent_count = kBatch;
  RETURN_IF_ERROR(Ask(fd_, map));
  batch_.clear();
  next_ = 0;
  at_end_ = map.fm_mapped_extents < kBatch;
  for (const fiemap_extent& raw : std::span(map.fm_extents, map.fm_mapped_extents)) {
    asked_to_ = raw.fe_logical + raw.fe_length;
    at_end_ |= (raw.fe_flags & FIEMAP_EXTENT_LAST) != 0;
    batch_.push_back({raw.fe_logical, raw.fe_length, raw.fe_physical, KindOf(raw.fe_flags)});
  }
  return absl::OkStatus();
}

}  // namespace understudy::os
