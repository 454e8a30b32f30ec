#include "core/delta/content_digest.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/base/status.h"

namespace understudy::delta {
namespace {

model::Digest Canonical(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  model::Digest digest;
  static_assert(sizeof(canonical.digest) == sizeof(digest));
  std::memcpy(digest.data(), canonical.digest, digest.size());
  return digest;
}

std::array<uint8_t, 8> LittleEndian(uint64_t value) {
  std::array<uint8_t, 8> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(value >> (8 * i));
  return bytes;
}

}  // namespace

model::Digest DigestOf(std::string_view bytes) {
  return Canonical(XXH3_128bits(bytes.data(), bytes.size()));
}

bool IsAllZeros(std::string_view bytes) {
  // Each byte equals the one before it, and the first is zero: memcmp goes at memory speed.
  return bytes.empty() || (bytes[0] == '\0' && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

ContentDigest::ContentDigest() : state_(XXH3_createState()) {
  UNDERSTUDY_CHECK(state_ != nullptr);
  XXH3_128bits_reset(state_.get());
}

void ContentDigest::AddSegment(uint64_t number, std::string_view bytes) {
  if (!IsAllZeros(bytes)) AddSegmentDigest(number, DigestOf(bytes));
}

void ContentDigest::AddSegmentDigest(uint64_t number, const model::Digest& digest) {
  const std::array<uint8_t, 8> prefix = LittleEndian(number);
  XXH3_128bits_update(state_.get(), prefix.data(), prefix.size());
  XXH3_128bits_update(state_.get(), digest.data(), digest.size());
}

model::Digest ContentDigest::Finish(uint64_t size) {
  const std::array<uint8_t, 8> suffix = LittleEndian(size);
  XXH3_128bits_update(state_.get(), suffix.data(), suffix.size());
  return Canonical(XXH3_128bits_digest(state_.get()));
}

model::Digest DigestOfContent(std::string_view content) {
  ContentDigest digest;
  for (uint64_t offset = 0; offset < content.size(); offset += kSegmentBytes) {
    digest.AddSegment(offset / kSegmentBytes, content.substr(offset, kSegmentBytes));
  }
  return digest.Finish(content.size());
}

}  // namespace understudy::delta
