#include "core/delta/content_digest.h"

#include <gtest/gtest.h>

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
TEST(ContentDigestTest, EmptyFileIsTheDigestOfItsSize) {
  EXPECT_EQ(DigestOfContent(""), DigestOf(std::string(8, '\0')));
  EXPECT_EQ(Hex(DigestOfContent("")), "2c0a8a99dc147d5445c3b49d035665b2") << "the format changed";
}

TEST(ContentDigestTest, HoleThenFourMebibytesOfX) {
  const std::string segment(kSegmentBytes, 'x');
  std::string definition("\x01\0\0\0\0\0\0\0", 8);
  const model::Digest of_segment = DigestOf(segment);
  definition.append(of_segment.begin(), of_segment.end());
  definition.append("\0\0\x80\0\0\0\0\0", 8);
  EXPECT_EQ(DigestOfContent(std::string(kSegmentBytes, '\0') + segment), DigestOf(definition));
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
