// sigv4.h: AWS Signature Version 4: the headers that authenticate a request to an S3 server. Pure.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. As S3 wants it, the path is encoded
// once and isn't normalised; what is signed is what is sent, byte for byte.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace understudy::net {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;
using QueryParameters = std::vector<std::pair<std::string, std::string>>;

struct AwsCredentials {
  std::string access_key = {};
  std::string secret_key = {};
  std::string session_token = {};  // empty: the keys are permanent
};

struct SigningScope {
  std::string region = {};
  std::string service = "s3";
};

inline constexpr std::string_view kEmptyPayloadSha256 =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct RequestToSign {
  std::string method = "GET";
  std::string path = "/";                           // encoded, as it stands in the request line (EncodePath)
  QueryParameters query = {};                       // not encoded, in any order
  HttpHeaders headers = {};                         // all are signed; `host` is one of them
  std::string payload_sha256{kEmptyPayloadSha256};  // in hexadecimal
};

// Percent-encodes all but letters, digits and "-._~"; in a path, slashes stay.
[[nodiscard]] std::string EncodePath(std::string_view path);
[[nodiscard]] std::string EncodeQueryPart(std::string_view text);
// "a=1&b=": encoded, then sorted by name and value, as it is signed, and as it is to be sent.
[[nodiscard]] std::string CanonicalQuery(const QueryParameters& query);

// The text whose digest is signed, and the names of the headers in it ("host;x-amz-date").
struct CanonicalRequest {
  std::string text;
  std::string signed_headers;
};
[[nodiscard]] CanonicalRequest Canonicalise(const RequestToSign& request);

// The headers to send besides those of `request`: x-amz-date, x-amz-security-token where there is a token, and
// authorization.
[[nodiscard]] HttpHeaders SignRequest(RequestToSign request, const AwsCredentials& credentials,
                                      const SigningScope& scope, absl::Time now);

// In hexadecimal.
[[nodiscard]] std::string Sha256Hex(std::string_view bytes);

}  // namespace understudy::net
