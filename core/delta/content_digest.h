// content_digest.h: one digest for a file's content, made of its segments' digests (format:
// docs/formats/content-digest.md).
//
// A segment is kSegmentBytes at a multiple of kSegmentBytes; the last one may be shorter. Segments that are all zeros
// are left out, so holes cost nothing, and where a filesystem puts its holes doesn't matter. Pure.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <memory>
#include <string_view>

#include "core/model/commit.h"

namespace understudy::delta {

inline constexpr uint64_t kSegmentBytes = 4 * 1024 * 1024;

// XXH3-128 of the bytes.
[[nodiscard]] model::Digest DigestOf(std::string_view bytes);

// As it is stored and sent; lives as long as `digest`.
[[nodiscard]] inline std::string_view BytesOf(const model::Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

[[nodiscard]] bool IsAllZeros(std::string_view bytes);

// Segments are added in ascending order of their numbers (offset / kSegmentBytes), each once.
class ContentDigest {
 public:
  ContentDigest();

  // The whole segment `number`; nothing is added when it is all zeros.
  void AddSegment(uint64_t number, std::string_view bytes);
  // A segment whose digest is known and that isn't all zeros.
  void AddSegmentDigest(uint64_t number, const model::Digest& digest);

  // `size` is the content's size in bytes. To be called once.
  [[nodiscard]] model::Digest Finish(uint64_t size);

 private:
  struct FreeState {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, FreeState> state_;
};

// Of content that is in memory as a whole.
[[nodiscard]] model::Digest DigestOfContent(std::string_view content);

}  // namespace understudy::delta
