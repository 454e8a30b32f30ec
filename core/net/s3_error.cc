#include "core/net/s3_error.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <pugixml.hpp>

#include "absl/strings/string_view.h"
#include "core/base/log.h"

namespace understudy::net {
namespace {

constexpr size_t kMaxMessageBytes = 300;  // of what the server says, in ours

std::string_view HeaderOf(const HttpResponse& response, const std::string& name) {
  const auto it = response.headers.find(name);
  return it == response.headers.end() ? std::string_view() : std::string_view(it->second);
}

// "by 25 minutes": how far this machine's clock is off the server's; empty when the server doesn't say its time.
std::string ClockDifference(const HttpResponse& response, absl::Time now) {
  absl::Time server;
  std::string error;
  const std::string date(HeaderOf(response, "date"));
  if (!absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", date, &server, &error)) return "";
  const absl::Duration ahead = now - server;
  return fmt::format(", which is {} {}", absl::FormatDuration(absl::Trunc(absl::AbsDuration(ahead), absl::Seconds(1))),
                     ahead > absl::ZeroDuration() ? "ahead" : "behind");
}

// Where the bucket is, by the document or the header; empty when it isn't said.
std::string RegionOf(const S3Error& error, const HttpResponse& response) {
  return error.region.empty() ? std::string(HeaderOf(response, "x-amz-bucket-region")) : error.region;
}

bool IsOneOf(std::string_view code, std::initializer_list<std::string_view> codes) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

absl::Status AnotherRegion(const std::string& what, const S3Error& error, const HttpResponse& response,
                           const S3ErrorContext& context) {
  const std::string region = RegionOf(error, response);
  if (!region.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("{}: the bucket is in region {}, and the request was signed for {}: set region to {}", what,
                    Printable(region), context.region, Printable(region)));
  }
  return absl::FailedPreconditionError(
      fmt::format("{}: the bucket is at another endpoint ({}): set endpoint and region to those of the bucket", what,
                  error.endpoint.empty() ? "which the server doesn't name" : Printable(error.endpoint)));
}

// Of an error that no waiting mends; nullopt: its code says nothing.
std::optional<absl::Status> StatusOfCode(const std::string& what, const S3Error& error, const HttpResponse& response,
                                         const S3ErrorContext& context) {
  const std::string_view code = error.code;
  if (IsOneOf(code, {"RequestTimeTooSkewed", "RequestExpired"})) {
    return absl::FailedPreconditionError(
        fmt::format("{}: the server refuses this machine's time{}: set the clock (timedatectl set-ntp true)", what,
                    ClockDifference(response, context.now)));
  }
  if (code == "InvalidAccessKeyId") {
    return absl::UnauthenticatedError(fmt::format("{}: the server doesn't know access key {}: check the key files",
                                                  what, Printable(context.access_key)));
  }
  if (code == "SignatureDoesNotMatch") {
    return absl::UnauthenticatedError(
        fmt::format("{}: the secret key isn't that of access key {} (or a proxy changes requests): check the key files",
                    what, Printable(context.access_key)));
  }
  if (IsOneOf(code, {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})) {
    return absl::UnauthenticatedError(fmt::format(
        "{}: the session token has expired or isn't valid: renew the keys and the token in their files", what));
  }
  if (IsOneOf(code, {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
                     "IllegalLocationConstraintException"})) {
    return AnotherRegion(what, error, response, context);
  }
  if (code == "NoSuchBucket") {
    return absl::NotFoundError(fmt::format("{}: there is no such bucket: check bucket and path_style", what));
  }
  if (code == "NoSuchKey") return absl::NotFoundError(fmt::format("{}: there is no such object", what));
  if (code == "InvalidObjectState") {
    return absl::FailedPreconditionError(
        fmt::format("{}: the object was moved to an archive tier: have it restored there first", what));
  }
  return std::nullopt;
}

absl::Status StatusOfNumber(int status, const std::string& what, const std::string& said,
                            const S3ErrorContext& context) {
  if (status == 403 || status == 401) {
    return absl::PermissionDeniedError(fmt::format(
        "{}: access key {} may not do this ({}): check that it is the right one, and allow it s3:ListBucket "
        "and s3:GetObject on bucket {}",
        what, Printable(context.access_key), said, context.bucket));
  }
  if (status == 404) {
    return absl::NotFoundError(fmt::format("{}: {} ({}): check endpoint, bucket and path_style", what,
                                           context.key.empty() ? "there is no such bucket" : "there is no such object",
                                           said));
  }
  if (status == 412) return absl::AbortedError(fmt::format("{}: the object was replaced meanwhile", what));
  if (status == 429 || status >= 500) return absl::UnavailableError(fmt::format("{}: {}", what, said));
  return absl::UnknownError(fmt::format("{}: {}: is the endpoint an S3 server?", what, said));
}

}  // namespace

S3Error ParseS3Error(std::string_view body) {
  pugi::xml_document document;
  if (!document.load_buffer(body.data(), body.size(), pugi::parse_default, pugi::encoding_utf8)) return {};
  const pugi::xml_node error = document.child("Error");
  return {.code = error.child_value("Code"),
          .message = error.child_value("Message"),
          .region = error.child_value("Region"),
          .endpoint = error.child_value("Endpoint")};
}

absl::Status StatusOfS3Error(const HttpResponse& response, const S3ErrorContext& context) {
  const S3Error error = ParseS3Error(response.body);
  const std::string what = context.key.empty() ? fmt::format("bucket {} at {}", context.bucket, context.endpoint)
                                               : fmt::format("object {} of bucket {} at {}", Printable(context.key),
                                                             context.bucket, context.endpoint);
  // Ceph and others give RequestTimeout as 400, which means that the connection was too slow.
  const std::string said = fmt::format("HTTP {}{}{}{}{}", response.status, error.code.empty() ? "" : " ",
                                       Printable(error.code), error.message.empty() ? "" : ": ",
                                       Printable(std::string_view(error.message).substr(0, kMaxMessageBytes)));
  if (IsOneOf(error.code, {"RequestTimeout", "SlowDown", "ServiceUnavailable", "InternalError"})) {
    return absl::UnavailableError(fmt::format("{}: {}", what, said));
  }
  if (const std::optional<absl::Status> status = StatusOfCode(what, error, response, context)) return *status;
  if (response.status == 301 || response.status == 307) return AnotherRegion(what, error, response, context);
  return StatusOfNumber(response.status, what, said, context);
}

}  // namespace understudy::net
