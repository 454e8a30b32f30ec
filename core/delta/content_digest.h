// content_digest.h: one digest for a file's content, as a sum over its blocks (format: docs/formats/content-digest.md).
//
// A sum, so that what changes in a file is taken out and put in without a look at the rest. Blocks that are all zeros
// add nothing, so holes cost nothing, and where a filesystem puts its holes doesn't matter. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/model/commit.h"

namespace understudy::delta {

// What the sum is made of; the last block of a file may be shorter.
inline constexpr uint64_t kBlockBytes = 4096;
// What has a digest in the index and travels as one delta; the last one of a file may be shorter.
inline constexpr uint64_t kSegmentBytes = 4 * 1024 * 1024;

// What is kept of a block to see whether it is another one: the low half of its part of the sum, little-endian; zeros
// for zeros.
inline constexpr size_t kBlockMarkBytes = 8;

// XXH3-128 of the bytes.
[[nodiscard]] model::Digest DigestOf(std::string_view bytes);

// As it is stored and sent; lives as long as `digest`.
[[nodiscard]] inline std::string_view BytesOf(const model::Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

[[nodiscard]] bool IsAllZeros(std::string_view bytes);

// The sum over the blocks of a range of a file; zeros when all of them are. `offset` is a multiple of kBlockBytes, and
// so is the length unless the file ends there.
// `blocks`, unless null, gets what tells each block of the range from another one (kBlockMarkBytes each).
[[nodiscard]] model::Digest DigestOfBlocks(uint64_t offset, std::string_view bytes, std::string* blocks = nullptr);

// The sum over the blocks of the segment `number`.
[[nodiscard]] inline model::Digest DigestOfSegment(uint64_t number, std::string_view bytes,
                                                   std::string* blocks = nullptr) {
  return DigestOfBlocks(number * kSegmentBytes, bytes, blocks);
}

// Sums of ranges, put together and taken apart. Ranges that are added don't overlap.
[[nodiscard]] model::Digest Plus(const model::Digest& a, const model::Digest& b);
[[nodiscard]] model::Digest Minus(const model::Digest& a, const model::Digest& b);

class ContentDigest {
 public:
  ContentDigest() = default;
  // Goes on from content whose digest and size are known.
  ContentDigest(const model::Digest& content, uint64_t size);

  // The sum of a range, a segment's say; in any order.
  void Add(const model::Digest& range) { sum_ = Plus(sum_, range); }
  void Remove(const model::Digest& range) { sum_ = Minus(sum_, range); }

  // `size` is the content's size in bytes.
  [[nodiscard]] model::Digest Finish(uint64_t size) const;

 private:
  model::Digest sum_{};
};

// Of content that is in memory as a whole.
[[nodiscard]] model::Digest DigestOfContent(std::string_view content);

}  // namespace understudy::delta
