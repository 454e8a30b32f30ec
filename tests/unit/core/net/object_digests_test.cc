#include "core/net/object_digests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace understudy::net {
namespace {

using ::testing::HasSubstr;

constexpr char kContent[] = "Welcome to Amazon S3.";
// As md5sum, openssl dgst and zlib have them.
constexpr char kMd5[] = "d447d0e8f289f16a12ff6027ce77c258";
constexpr char kSha256[] = "RM591nyVng01JP+sF3Hfu6h9K2tLTpnkIDSouAP4sHI=";
constexpr char kCrc32[] = "Ox7nCg==";

absl::Status Check(const std::string& content, const ClaimedDigests& claimed) {
  ObjectDigests digests;
  digests.Add("something of an earlier try");
  digests.Restart();
  for (const char c : content) digests.Add({&c, 1});
  return digests.Check(claimed);
}

TEST(ObjectDigests, AreWhatOtherToolsCompute) {
  EXPECT_EQ(Check(kContent, {.md5_hex = kMd5, .sha256_base64 = kSha256, .crc32_base64 = kCrc32}), absl::OkStatus());
  EXPECT_EQ(Check(kContent, {}), absl::OkStatus());
}

TEST(ObjectDigests, EachFindsAByteThatChanged) {
  for (const ClaimedDigests& claimed : {ClaimedDigests{.md5_hex = kMd5}, ClaimedDigests{.sha256_base64 = kSha256},
                                        ClaimedDigests{.crc32_base64 = kCrc32}}) {
    const absl::Status status = Check("Welcome to Amazon S4.", claimed);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("damaged"));
  }
}

TEST(ClaimedDigests, AnETagCountsWhereItIsADigest) {
  const std::string etag = std::string("\"") + kMd5 + "\"";
  EXPECT_EQ(ClaimedDigestsOf({{"etag", etag}}).md5_hex, kMd5);
  EXPECT_EQ(ClaimedDigestsOf({{"etag", kMd5}}).md5_hex, kMd5);
  EXPECT_EQ(ClaimedDigestsOf({{"etag", etag}, {"x-amz-server-side-encryption", "AES256"}}).md5_hex, kMd5);
  // Of parts, of an object that was encrypted with a key, weak, or none.
  EXPECT_EQ(ClaimedDigestsOf({{"etag", std::string("\"") + kMd5 + "-7\""}}).md5_hex, "");
  EXPECT_EQ(ClaimedDigestsOf({{"etag", etag}, {"x-amz-server-side-encryption", "aws:kms"}}).md5_hex, "");
  EXPECT_EQ(ClaimedDigestsOf({{"etag", etag}, {"x-amz-server-side-encryption-customer-algorithm", "AES256"}}).md5_hex,
            "");
  EXPECT_EQ(ClaimedDigestsOf({{"etag", "W/" + etag}}).md5_hex, "");
  EXPECT_EQ(ClaimedDigestsOf({}).md5_hex, "");
}

TEST(ClaimedDigests, AnETagThatOnlyLooksLikeADigestIsNone) {
  const std::string etag = std::string("\"") + kMd5 + "\"";
  for (const auto& [name, value] :
       std::map<std::string, std::string>{{"x-amz-server-side-encryption", "aws:kms:dsse"},
                                          {"x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:key"},
                                          {"x-amz-server-side-encryption-customer-key-md5", "QUJD"},
                                          {"x-amz-storage-class", "EXPRESS_ONEZONE"}}) {
    EXPECT_EQ(ClaimedDigestsOf({{"etag", etag}, {name, value}}).md5_hex, "") << name;
  }
  EXPECT_EQ(ClaimedDigestsOf({{"etag", etag}, {"x-amz-storage-class", "STANDARD_IA"}}).md5_hex, kMd5);
}

TEST(ClaimedDigests, AnotherDigestOfTheWholeIsBetterThanTheETag) {
  const std::string other_etag(32, 'a');
  const ClaimedDigests claimed = ClaimedDigestsOf({{"etag", other_etag}, {"x-amz-checksum-sha256", kSha256}});
  EXPECT_EQ(Check(kContent, claimed), absl::OkStatus());
  EXPECT_TRUE(absl::IsDataLoss(Check("Welcome to Amazon S4.", claimed)));
  EXPECT_EQ(ClaimedDigestsOf({{"etag", other_etag}, {"x-amz-checksum-crc32", kCrc32}}).md5_hex, "");
  EXPECT_EQ(ClaimedDigestsOf({{"etag", kMd5}, {"x-amz-checksum-crc32", "Ox7nCg==-3"}}).md5_hex, kMd5) << "of parts";
}

TEST(ClaimedDigests, AChecksumOfPartsIsntThatOfTheWhole) {
  EXPECT_EQ(ClaimedDigestsOf({{"x-amz-checksum-crc32", kCrc32}}).crc32_base64, kCrc32);
  EXPECT_EQ(ClaimedDigestsOf({{"x-amz-checksum-crc32", "Ox7nCg==-3"}}).crc32_base64, "");
  EXPECT_EQ(ClaimedDigestsOf({{"x-amz-checksum-sha256", kSha256}}).sha256_base64, kSha256);
}

}  // namespace
}  // namespace understudy::net
