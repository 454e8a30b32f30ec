// disk_reader.h: reads a file's content from the disk rather than from the page cache, to see what is really there.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "core/base/status.h"
#include "core/model/commit.h"

namespace understudy::dr {

struct ReadContent {
  uint64_t size = 0;
  model::Digest digest{};  // docs/formats/content-digest.md
  // Of those that aren't all zeros, ascending, where they were asked for. nullopt: they weren't, or the file has more
  // than kMaxSegmentDigests.
  std::optional<std::vector<model::SegmentDigest>> segments;
};

// Of 4 MiB each. As many as a message holds (wire::kMaxResumedSegments).
inline constexpr size_t kMaxSegmentDigests = 256 * 1024;

// Called with each piece that was read, of at most 4 MiB; its error ends the reading.
using OnBytes = std::function<absl::Status(uint64_t bytes)>;

// `fd` is open for reading. Where the filesystem can't read past its cache, clean pages are dropped before. Holes cost
// nothing. ABORTED: the file became shorter while it was read.
[[nodiscard]] absl::StatusOr<ReadContent> ReadFromDisk(int fd, const OnBytes& on_bytes, bool with_segments = false);

}  // namespace understudy::dr
