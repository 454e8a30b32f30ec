#include "core/net/s3_error.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::net {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);  // 2023-11-14T22:13:20Z

absl::Status StatusOf(int status, const std::string& code, const std::string& more = "",
                      const std::map<std::string, std::string>& headers = {}) {
  const HttpResponse response{
      .status = status,
      .headers = headers,
      .body = code.empty() ? "" : fmt::format("<?xml version=\"1.0\"?>\n<Error><Code>{}</Code>{}</Error>", code, more)};
  return StatusOfS3Error(response, {.bucket = "velero",
                                    .key = "backups/b1/b1.tar.gz",
                                    .endpoint = "https://s3.example.com",
                                    .region = "us-east-1",
                                    .access_key = "AKIA1",
                                    .now = kNow});
}

std::string TextOf(const absl::Status& status) {
  return std::string(status.message());
}

TEST(S3Error, SaysWhatIsWrongWithTheKeys) {
  EXPECT_TRUE(absl::IsUnauthenticated(StatusOf(403, "InvalidAccessKeyId")));
  EXPECT_THAT(TextOf(StatusOf(403, "InvalidAccessKeyId")), HasSubstr("doesn't know access key AKIA1"));
  EXPECT_TRUE(absl::IsUnauthenticated(StatusOf(403, "SignatureDoesNotMatch")));
  EXPECT_THAT(TextOf(StatusOf(403, "SignatureDoesNotMatch")), HasSubstr("secret key"));
  EXPECT_TRUE(absl::IsUnauthenticated(StatusOf(400, "ExpiredToken")));
  EXPECT_TRUE(absl::IsPermissionDenied(StatusOf(403, "AccessDenied")));
  EXPECT_THAT(TextOf(StatusOf(403, "AccessDenied")), HasSubstr("s3:GetObject"));
}

TEST(S3Error, SaysHowFarTheClockIsOff) {
  const absl::Status ahead = StatusOf(403, "RequestTimeTooSkewed", "", {{"date", "Tue, 14 Nov 2023 21:43:20 GMT"}});
  EXPECT_TRUE(absl::IsFailedPrecondition(ahead));
  EXPECT_THAT(TextOf(ahead), HasSubstr("30m ahead"));
  EXPECT_THAT(TextOf(ahead), HasSubstr("set the clock"));
  EXPECT_THAT(TextOf(StatusOf(403, "RequestTimeTooSkewed", "", {{"date", "Tue, 14 Nov 2023 23:13:20 GMT"}})),
              HasSubstr("1h behind"));
  EXPECT_THAT(TextOf(StatusOf(403, "RequestTimeTooSkewed")), HasSubstr("set the clock"));
}

TEST(S3Error, NamesTheRegionToSet) {
  const absl::Status by_header = StatusOf(301, "PermanentRedirect", "", {{"x-amz-bucket-region", "eu-west-1"}});
  EXPECT_TRUE(absl::IsFailedPrecondition(by_header));
  EXPECT_THAT(TextOf(by_header), HasSubstr("set region to eu-west-1"));
  EXPECT_THAT(TextOf(StatusOf(400, "AuthorizationHeaderMalformed", "<Region>eu-north-1</Region>")),
              HasSubstr("set region to eu-north-1"));
  EXPECT_THAT(TextOf(StatusOf(301, "PermanentRedirect", "<Endpoint>other.example.com</Endpoint>")),
              HasSubstr("other.example.com"));
  EXPECT_TRUE(absl::IsFailedPrecondition(StatusOf(301, "")));
}

TEST(S3Error, TellsWhatIsMissingFromWhatIsNot) {
  EXPECT_TRUE(absl::IsNotFound(StatusOf(404, "NoSuchBucket")));
  EXPECT_THAT(TextOf(StatusOf(404, "NoSuchBucket")), HasSubstr("check bucket"));
  EXPECT_THAT(TextOf(StatusOf(404, "NoSuchKey")), HasSubstr("backups/b1/b1.tar.gz"));
  EXPECT_TRUE(absl::IsNotFound(StatusOf(404, "")));
  EXPECT_TRUE(absl::IsAborted(StatusOf(412, "PreconditionFailed")));
}

TEST(S3Error, WhatMayPassIsUnavailable) {
  for (const int status : {429, 500, 502, 503, 504}) EXPECT_TRUE(absl::IsUnavailable(StatusOf(status, ""))) << status;
  EXPECT_TRUE(absl::IsUnavailable(StatusOf(503, "SlowDown")));
  EXPECT_TRUE(absl::IsUnavailable(StatusOf(400, "RequestTimeout")));
}

TEST(S3Error, AnAnswerThatIsNoErrorDocumentIsAskedAbout) {
  const absl::Status status =
      StatusOfS3Error({.status = 400, .headers = {}, .body = "<html><body>Hello"}, {.bucket = "velero"});
  EXPECT_TRUE(absl::IsUnknown(status));
  EXPECT_THAT(TextOf(status), HasSubstr("is the endpoint an S3 server?"));
}

TEST(S3Error, WhatTheServerSaysCantSpoilATerminal) {
  EXPECT_THAT(TextOf(StatusOf(400, "Odd", "<Message>red \x1b[31m</Message>")), HasSubstr("\\x1b"));
}

}  // namespace
}  // namespace understudy::net
