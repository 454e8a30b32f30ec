// Expected values are those that AWS publishes: the examples of "Authenticating Requests: Using the Authorization
// Header" (S3), and the signing test suite that aws-c-auth carries (region us-east-1, service "service").
#include "core/net/sigv4.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>

namespace understudy::net {
namespace {

using ::testing::HasSubstr;

std::string ValueOf(const HttpHeaders& headers, const std::string& name) {
  const auto it =
      std::find_if(headers.begin(), headers.end(), [&](const auto& header) { return header.first == name; });
  return it == headers.end() ? "" : it->second;
}

std::string SignatureOf(const HttpHeaders& headers) {
  const std::string authorization = ValueOf(headers, "authorization");
  return authorization.substr(authorization.find("Signature=") + 10);
}

absl::Time At(const std::string& text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &time, &error)) << error;
  return time;
}

// The examples of Amazon S3's documentation.
class S3Example : public ::testing::Test {
 protected:
  static HttpHeaders Sign(RequestToSign request) {
    request.headers.emplace_back("Host", "examplebucket.s3.amazonaws.com");
    request.headers.emplace_back("x-amz-content-sha256", request.payload_sha256);
    return SignRequest(request,
                       {.access_key = "AKIAIOSFODNN7EXAMPLE",
                        .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                        .session_token = ""},
                       {.region = "us-east-1", .service = "s3"}, At("2013-05-24T00:00:00Z"));
  }
};

TEST_F(S3Example, GetsARangeOfAnObject) {
  const HttpHeaders headers = Sign({.path = "/test.txt", .headers = {{"Range", "bytes=0-9"}}});
  EXPECT_EQ(ValueOf(headers, "x-amz-date"), "20130524T000000Z");
  EXPECT_EQ(ValueOf(headers, "authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST_F(S3Example, PutsAnObjectWhosePathIsEncodedOnce) {
  const HttpHeaders headers =
      Sign({.method = "PUT",
            .path = EncodePath("/test$file.text"),
            .headers = {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
            .payload_sha256 = Sha256Hex("Welcome to Amazon S3.")});
  EXPECT_EQ(SignatureOf(headers), "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST_F(S3Example, AsksForAnAspectOfABucketByAParameterWithoutValue) {
  EXPECT_EQ(SignatureOf(Sign({.query = {{"lifecycle", ""}}})),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST_F(S3Example, ListsABucketWhateverTheOrderOfTheParameters) {
  constexpr char kSignature[] = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
  EXPECT_EQ(SignatureOf(Sign({.query = {{"max-keys", "2"}, {"prefix", "J"}}})), kSignature);
  EXPECT_EQ(SignatureOf(Sign({.query = {{"prefix", "J"}, {"max-keys", "2"}}})), kSignature);
}

// One case of the signing test suite.
struct Vector {
  std::string name;
  RequestToSign request;
  std::string session_token;
  std::string signature;
  friend void PrintTo(const Vector& vector, std::ostream* out) { *out << vector.name; }
};

class SigningSuite : public ::testing::TestWithParam<Vector> {};

TEST_P(SigningSuite, HasThePublishedSignature) {
  RequestToSign request = GetParam().request;
  request.headers.emplace_back("Host", "example.amazonaws.com");
  const HttpHeaders headers = SignRequest(request,
                                          {.access_key = "AKIDEXAMPLE",
                                           .secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                                           .session_token = GetParam().session_token},
                                          {.region = "us-east-1", .service = "service"}, At("2015-08-30T12:36:00Z"));
  EXPECT_EQ(SignatureOf(headers), GetParam().signature) << Canonicalise(request).text;
}

INSTANTIATE_TEST_SUITE_P(
    OfAws, SigningSuite,
    ::testing::Values(Vector{"get_vanilla", {}, "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
                      Vector{"get_vanilla_empty_query_key",
                             {.query = {{"Param1", "value1"}}},
                             "",
                             "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
                      Vector{"get_vanilla_query_order_key_case",
                             {.query = {{"Param2", "value2"}, {"Param1", "value1"}}},
                             "",
                             "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
                      Vector{"get_vanilla_query_order_encoded",
                             {.query = {{"Param-3", "Value3"}, {"Param", "Value2"}, {"\xE1\x88\xB4", "Value1"}}},
                             "",
                             "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
                      Vector{"get_vanilla_utf8_query",
                             {.query = {{"\xE1\x88\xB4", "bar"}}},
                             "",
                             "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
                      Vector{
                          "get_unreserved",
                          {.path = EncodePath("/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")},
                          "",
                          "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
                      Vector{"get_utf8",
                             {.path = EncodePath("/\xE1\x88\xB4")},
                             "",
                             "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
                      Vector{"get_space_unnormalized",
                             {.path = EncodePath("/example space/")},
                             "",
                             "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
                      Vector{"get_slashes_unnormalized",
                             {.path = EncodePath("//example//")},
                             "",
                             "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5"},
                      Vector{"get_header_value_trim",
                             {.headers = {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}}},
                             "",
                             "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
                      Vector{"get_vanilla_with_session_token",
                             {},
                             "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267",
                             "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"}),
    [](const auto& instance) { return instance.param.name; });

TEST(SigV4, EncodesAllButUnreservedCharactersAndTheSlashesOfAPath) {
  EXPECT_EQ(EncodePath("/a b/%2F+~"), "/a%20b/%252F%2B~");
  EXPECT_EQ(EncodeQueryPart("a/b=c&d"), "a%2Fb%3Dc%26d");
}

TEST(SigV4, SortsParametersByNameBeforeValue) {
  // "-" comes before "=": lines as a whole would sort the other way.
  EXPECT_EQ(CanonicalQuery({{"a", "2"}, {"a-b", "1"}, {"a", "1"}}), "a=1&a=2&a-b=1");
}

TEST(SigV4, AnEmptyPayloadHasItsDigestInTheRequest) {
  EXPECT_EQ(Sha256Hex(""), kEmptyPayloadSha256);
  EXPECT_THAT(Canonicalise({.headers = {{"host", "h"}}}).text, HasSubstr(std::string("\n\nhost\n") + Sha256Hex("")));
}

TEST(SigV4, SeveralHeadersOfOneNameAreOne) {
  const CanonicalRequest canonical = Canonicalise({.headers = {{"B", "2"}, {"a", "x  y"}, {"b", "1"}}});
  EXPECT_EQ(canonical.signed_headers, "a;b");
  EXPECT_THAT(canonical.text, HasSubstr("a:x y\nb:2,1\n"));
}

}  // namespace
}  // namespace understudy::net
