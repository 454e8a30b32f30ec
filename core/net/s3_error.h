// s3_error.h: what an S3 server's refusal means, and what to do about it. Pure.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/net/http_client.h"

namespace understudy::net {

// What the refused request was about.
struct S3ErrorContext {
  std::string bucket = {};
  std::string key = {};  // empty: the bucket itself
  std::string endpoint = {};
  std::string region = {};      // that the request was signed for
  std::string access_key = {};  // that it was signed with
  absl::Time now = {};          // this machine's
};

// The error document (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html); fields that it lacks are
// empty.
struct S3Error {
  std::string code = {};
  std::string message = {};
  std::string region = {};
  std::string endpoint = {};
};
[[nodiscard]] S3Error ParseS3Error(std::string_view body);

// Of an answer whose status isn't one of success. UNAUTHENTICATED: the keys aren't right, or have expired;
// PERMISSION_DENIED: they don't allow it; NOT_FOUND: no such bucket or object; FAILED_PRECONDITION: another region, a
// clock that is wrong, an object in an archive; ABORTED: the object is another one than before (412); UNAVAILABLE: to
// be tried again; UNKNOWN: anything else.
[[nodiscard]] absl::Status StatusOfS3Error(const HttpResponse& response, const S3ErrorContext& context);

}  // namespace understudy::net
