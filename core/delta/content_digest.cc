#include "core/delta/content_digest.h"

#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>  // XXH3 with what this processor has, not with the least that all of them have
#endif

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/base/status.h"

namespace understudy::delta {
namespace {

// A block's number is its seed, so that blocks that change places change the sum; no file has so many blocks.
constexpr uint64_t kSizeSeed = UINT64_MAX;

model::Digest Canonical(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  model::Digest digest;
  static_assert(sizeof(canonical.digest) == sizeof(digest));
  std::memcpy(digest.data(), canonical.digest, digest.size());
  return digest;
}

XXH128_hash_t HashOf(const model::Digest& digest) {
  XXH128_canonical_t canonical;
  std::memcpy(canonical.digest, digest.data(), digest.size());
  return XXH128_hashFromCanonical(&canonical);
}

std::array<char, 8> LittleEndian(uint64_t number) {
  std::array<char, 8> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(number >> (8 * i));
  return bytes;
}

model::Digest DigestOfSize(uint64_t size) {
  const std::array<char, 8> bytes = LittleEndian(size);
  return Canonical(XXH3_128bits_withSeed(bytes.data(), bytes.size(), kSizeSeed));
}

}  // namespace

model::Digest DigestOf(std::string_view bytes) {
  return Canonical(XXH3_128bits(bytes.data(), bytes.size()));
}

bool IsAllZeros(std::string_view bytes) {
  // Each byte equals the one before it, and the first is zero: memcmp goes at memory speed.
  return bytes.empty() || (bytes[0] == '\0' && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

model::Digest DigestOfBlocks(uint64_t offset, std::string_view bytes, std::string* blocks) {
  UNDERSTUDY_CHECK(offset % kBlockBytes == 0);
  XXH128_hash_t sum{0, 0};
  if (blocks != nullptr) blocks->assign((bytes.size() + kBlockBytes - 1) / kBlockBytes * kBlockMarkBytes, '\0');
  size_t mark = 0;
  for (uint64_t number = offset / kBlockBytes; !bytes.empty(); ++number) {
    const std::string_view block = bytes.substr(0, kBlockBytes);
    bytes.remove_prefix(block.size());
    const size_t at = std::exchange(mark, mark + kBlockMarkBytes);
    if (IsAllZeros(block)) continue;
    const XXH128_hash_t hash = XXH3_128bits_withSeed(block.data(), block.size(), number);
    if (blocks != nullptr) std::ranges::copy(LittleEndian(hash.low64), blocks->begin() + static_cast<ptrdiff_t>(at));
    sum.low64 += hash.low64;
    sum.high64 += hash.high64;
  }
  return Canonical(sum);
}

model::Digest Plus(const model::Digest& a, const model::Digest& b) {
  const XXH128_hash_t left = HashOf(a);
  const XXH128_hash_t right = HashOf(b);
  return Canonical({left.low64 + right.low64, left.high64 + right.high64});
}

model::Digest Minus(const model::Digest& a, const model::Digest& b) {
  const XXH128_hash_t left = HashOf(a);
  const XXH128_hash_t right = HashOf(b);
  return Canonical({left.low64 - right.low64, left.high64 - right.high64});
}

ContentDigest::ContentDigest(const model::Digest& content, uint64_t size) : sum_(Minus(content, DigestOfSize(size))) {}

model::Digest ContentDigest::Finish(uint64_t size) const {
  return Plus(sum_, DigestOfSize(size));
}

model::Digest DigestOfContent(std::string_view content) {
  ContentDigest digest;
  digest.Add(DigestOfBlocks(0, content));
  return digest.Finish(content.size());
}

}  // namespace understudy::delta
