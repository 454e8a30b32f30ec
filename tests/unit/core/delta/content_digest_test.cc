#include "core/delta/content_digest.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "absl/strings/escaping.h"
#include "core/delta/rsync_segment.h"

namespace understudy::delta {
namespace {

std::string Hex(const model::Digest& digest) {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::string Noise(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<char>(seed >> 56);
  }
  return bytes;
}

// The worked examples of docs/formats/content-digest.md, computed from the definition.
model::Digest Seeded(std::string_view bytes, uint64_t seed) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed));
  model::Digest digest;
  std::copy(std::begin(canonical.digest), std::end(canonical.digest), digest.begin());
  return digest;
}

TEST(ContentDigestTest, EmptyFileIsTheDigestOfItsSize) {
  EXPECT_EQ(DigestOfContent(""), Seeded(std::string(8, '\0'), UINT64_MAX));
  EXPECT_EQ(Hex(DigestOfContent("")), "da6cb7a02164de08bf1287f71c467c8a") << "the format changed";
}

TEST(ContentDigestTest, HoleThenTwoBlocks) {
  const std::string x(kBlockBytes, 'x');
  const model::Digest size = Seeded(std::string("\x04\x30\0\0\0\0\0\0", 8), UINT64_MAX);
  EXPECT_EQ(DigestOfContent(std::string(kBlockBytes, '\0') + x + x + "tail"),
            Plus(Plus(Seeded(x, 1), Seeded(x, 2)), Plus(Seeded("tail", 3), size)));
  EXPECT_EQ(Hex(DigestOfContent(std::string(kBlockBytes, '\0') + x + x + "tail")), "1a8d58d81bdf84f68cf851738f47f06d")
      << "the format changed";
}

TEST(ContentDigestTest, GoesOnFromWhatIsKnown) {
  const std::string before = Noise(3 * kBlockBytes + 100, 7);
  std::string now = before;
  now.replace(kBlockBytes, 10, "0123456789");
  now.resize(2 * kBlockBytes);
  ContentDigest digest(DigestOfContent(before), before.size());
  digest.Remove(DigestOfBlocks(kBlockBytes, std::string_view(before).substr(kBlockBytes)));
  digest.Add(DigestOfBlocks(kBlockBytes, std::string_view(now).substr(kBlockBytes)));
  EXPECT_EQ(digest.Finish(now.size()), DigestOfContent(now));
}

TEST(ContentDigestTest, BlocksThatChangePlacesChangeIt) {
  const std::string one = Noise(kBlockBytes, 1);
  const std::string other = Noise(kBlockBytes, 2);
  EXPECT_NE(DigestOfContent(one + other), DigestOfContent(other + one));
}

TEST(ContentDigestTest, SizeCountsEvenWhereAllIsZeros) {
  EXPECT_NE(DigestOfContent(std::string(1, '\0')), DigestOfContent(std::string(2, '\0')));
}

TEST(ContentDigestTest, AllZeros) {
  EXPECT_TRUE(IsAllZeros(""));
  EXPECT_TRUE(IsAllZeros(std::string(100'000, '\0')));
  for (const size_t at : {size_t{0}, size_t{1}, size_t{99'999}}) {
    std::string bytes(100'000, '\0');
    bytes[at] = 1;
    EXPECT_FALSE(IsAllZeros(bytes)) << at;
  }
}

TEST(RsyncSegmentTest, DeltaOfASmallChangeIsSmallAndPatchesBack) {
  const std::string base = Noise(kSegmentBytes, 1);
  std::string next = base;
  next.replace(2'000'000, 10, "0123456789");
  const std::string signature = MakeSignature(base).value();
  EXPECT_LT(signature.size(), base.size() / 500);
  const std::string delta = MakeDelta(signature, next).value();
  EXPECT_LT(delta.size(), 10'000u);
  EXPECT_EQ(ApplyDelta(base, delta, next.size()).value(), next);
}

TEST(RsyncSegmentTest, ShiftedContentIsFound) {
  const std::string base = Noise(1'000'000, 2);
  const std::string next = "inserted" + base;
  const std::string delta = MakeDelta(MakeSignature(base).value(), next).value();
  EXPECT_LT(delta.size(), 20'000u);
  EXPECT_EQ(ApplyDelta(base, delta, next.size()).value(), next);
}

TEST(RsyncSegmentTest, EmptyBaseAndEmptyNext) {
  const std::string next = Noise(5000, 3);
  const std::string delta = MakeDelta(MakeSignature("").value(), next).value();
  EXPECT_EQ(ApplyDelta("", delta, next.size()).value(), next);
  const std::string nothing = MakeDelta(MakeSignature(next).value(), "").value();
  EXPECT_EQ(ApplyDelta(next, nothing, 0).value(), "");
}

TEST(RsyncSegmentTest, HostileDeltasAreRefused) {
  const std::string base = Noise(100'000, 4);
  const std::string delta = MakeDelta(MakeSignature(base).value(), base).value();
  EXPECT_TRUE(absl::IsDataLoss(ApplyDelta(base, "no delta at all", 10).status()));
  EXPECT_TRUE(absl::IsDataLoss(ApplyDelta(base, "", 10).status()));
  EXPECT_TRUE(absl::IsDataLoss(ApplyDelta(base, delta.substr(0, delta.size() - 1), base.size()).status()));
  EXPECT_TRUE(absl::IsDataLoss(ApplyDelta(base, delta, base.size() - 1).status())) << "longer than announced";
  EXPECT_TRUE(absl::IsDataLoss(ApplyDelta(base, delta, base.size() + 1).status())) << "shorter than announced";
  EXPECT_TRUE(absl::IsDataLoss(ApplyDelta(base.substr(0, 500), delta, base.size()).status())) << "copies from outside";
}

TEST(RsyncSegmentTest, NotASignature) {
  EXPECT_TRUE(absl::IsInvalidArgument(MakeDelta("nonsense", "next").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeDelta("", "next").status()));
}

}  // namespace
}  // namespace understudy::delta
