#include "core/config/oadp_settings.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"

namespace understudy::config {
namespace {

constexpr size_t kLeastBucketBytes = 3;
constexpr size_t kMostBucketBytes = 63;
constexpr size_t kMostPrefixBytes = 512;
constexpr uint64_t kLeastArchiveBytes = uint64_t{1} << 20;
constexpr uint64_t kMostArchiveBytes = uint64_t{1} << 40;

bool IsLowerOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool IsAlphanumeric(char c) {
  return IsLowerOrDigit(c) || (c >= 'A' && c <= 'Z');
}

// "https://host", "http://host:port": nothing after it, because paths are what requests sign.
absl::Status CheckEndpoint(const std::string& text) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (!text.starts_with(scheme)) continue;
    const std::string_view rest = std::string_view(text).substr(scheme.size());
    const std::string_view host = rest.ends_with('/') ? rest.substr(0, rest.size() - 1) : rest;
    const bool plain = std::all_of(host.begin(), host.end(), [](char c) {
      return IsAlphanumeric(c) || std::string_view(".-_:[]").find(c) != std::string_view::npos;
    });
    if (plain && !host.empty()) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(fmt::format(
      "'{}': write scheme and host, such as https://s3.example.com or http://192.0.2.7:9000", Printable(text)));
}

// Amazon's rule, and the letters and underscores that other servers allow.
absl::Status CheckBucket(const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(),
                                 [](char c) { return IsAlphanumeric(c) || c == '.' || c == '-' || c == '_'; });
  if (plain && text.size() >= kLeastBucketBytes && text.size() <= kMostBucketBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("'{}': write the bucket's name: {} to {} letters, digits, dots and dashes", Printable(text),
                  kLeastBucketBytes, kMostBucketBytes));
}

absl::Status CheckPrefix(const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= ' ' && c != 0x7f; });
  const bool names = !text.empty() && text.front() != '/' && text.back() != '/' && !text.ends_with("backups");
  if (plain && names && text.size() <= kMostPrefixBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("'{}': write what the BackupStorageLocation has as its prefix, without a slash at either end and "
                  "without backups/",
                  Printable(text)));
}

// What stands in a signature's scope, between slashes.
absl::Status CheckRegion(const std::string& text) {
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return IsAlphanumeric(c) || c == '-' || c == '_'; });
  if (plain && !text.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("'{}': write a region, such as us-east-1", Printable(text)));
}

std::optional<Problem> FindKeyProblem(const S3Config& s3, const std::string& key) {
  const bool key_files = !s3.access_key_file.empty() || !s3.secret_key_file.empty();
  if (!s3.credentials_file.empty()) {
    if (key_files || !s3.session_token_file.empty()) {
      return Problem{key + ".credentials_file",
                     "holds the keys already: leave out access_key_file, secret_key_file and session_token_file"};
    }
    return std::nullopt;
  }
  if (s3.access_key_file.empty()) {
    return Problem{key + ".access_key_file", "write access_key_file and secret_key_file, or credentials_file"};
  }
  if (s3.secret_key_file.empty()) {
    return Problem{key + ".secret_key_file", "belongs to access_key_file: write both"};
  }
  return std::nullopt;
}

std::optional<Problem> FindBucketProblem(const S3Config& s3, const std::string& key) {
  const bool a_host_name =
      std::all_of(s3.bucket.begin(), s3.bucket.end(), [](char c) { return IsLowerOrDigit(c) || c == '.' || c == '-'; });
  if (!s3.path_style && !a_host_name) {
    return Problem{key + ".bucket",
                   "capital letters and underscores can't stand in a host's name: write path_style: true"};
  }
  return FindKeyProblem(s3, key);
}

}  // namespace

void S3Config::Describe(Visitor& v) {
  v.Text({.key = "endpoint",
          .doc = "the S3 server, as in `https://s3.example.com`",
          .default_text = "Amazon's for the region"},
         endpoint, CheckEndpoint);
  v.Text({.key = "region", .doc = "the bucket's region, as requests are signed for it; many servers have one only"},
         region, CheckRegion);
  v.Text({.key = "bucket", .doc = "the bucket that holds the backups", .required = true}, bucket, CheckBucket);
  v.Text({.key = "prefix",
          .doc = "the prefix of the BackupStorageLocation, below which `backups/` lies",
          .default_text = "none"},
         prefix, CheckPrefix);
  v.Boolean({.key = "path_style",
             .doc = "whether the bucket stands in the path (`https://host/bucket/`) or before the host's name "
                    "(`https://bucket.host/`)"},
            path_style);
  v.Path({.key = "ca",
          .doc = "certificates of the authorities that the server is trusted by (PEM)",
          .default_text = "the system's"},
         ca);
  v.Path({.key = "access_key_file", .doc = "file with the access key; read anew for each request, like the next two"},
         access_key_file);
  v.Path({.key = "secret_key_file", .doc = "file with the secret key, readable by the program alone"}, secret_key_file);
  v.Path({.key = "session_token_file", .doc = "file with the session token, where the keys are temporary ones"},
         session_token_file);
  v.Path(
      {.key = "credentials_file",
       .doc = "instead of the three: a file with a section that holds them, as OADP's secret `cloud-credentials` does"},
      credentials_file);
  v.Text({.key = "profile", .doc = "the section of `credentials_file`"}, profile, CheckNotEmpty);
}

void OadpConfig::Describe(Visitor& v) {
  v.Text({.key = "namespace", .doc = "OADP's namespace on the cluster that takes over, where restores are made"},
         namespace_name, CheckNotEmpty);
  v.Boolean(
      {.key = "accept_partially_failed",
       .doc =
           "whether a backup that is `PartiallyFailed` may be used, too; `--accept-partially-failed` allows it once"},
      accept_partially_failed);
  v.Size({.key = "max_archive_bytes", .doc = "a larger archive of a backup is refused"}, max_archive_bytes,
         kLeastArchiveBytes, kMostArchiveBytes);
  v.Section({.key = "s3", .doc = "the bucket that holds the backups", .required = true}, s3);
  v.Section({.key = "failback_s3",
             .doc = "the bucket that holds the backups of the DR cluster, of which a failback restores what was made "
                    "there; without it a failback restores nothing"},
            failback_s3);
}

std::optional<Problem> FindOadpProblem(const OadpConfig& oadp) {
  if (auto problem = FindBucketProblem(oadp.s3, "oadp.s3")) return problem;
  if (!oadp.failback_s3) return std::nullopt;
  const S3Config& back = *oadp.failback_s3;
  if (back.endpoint == oadp.s3.endpoint && back.bucket == oadp.s3.bucket && back.prefix == oadp.s3.prefix) {
    return Problem{"oadp.failback_s3",
                   "is where the primary's backups are: which of two clusters a backup is of isn't written in it, so "
                   "give each a bucket or a prefix of its own"};
  }
  return FindBucketProblem(back, "oadp.failback_s3");
}

}  // namespace understudy::config
