#include "core/net/s3_client.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/backoff.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/net/s3_download.h"

namespace understudy::net {
namespace {

constexpr uint64_t kMaxListPageBytes = uint64_t{16} << 20;
// A download that brought so much since it last broke is on its way: its attempts count anew.
constexpr uint64_t kProgressBytes = uint64_t{1} << 20;
// Beginning anew has its own bound: an object may be replaced again and again.
constexpr int kMaxRestarts = 3;

std::string SchemeOf(const std::string& endpoint) {
  return endpoint.substr(0, endpoint.find("://"));
}

std::string HostOf(const S3Options& options) {
  std::string host = options.endpoint.substr(options.endpoint.find("://") + 3);
  if (host.ends_with('/')) host.pop_back();
  return options.path_style ? host : fmt::format("{}.{}", options.bucket, host);
}

// What a retry says once there are no more.
absl::Status GivenUp(const absl::Status& status, int attempts) {
  return Annotate(status, fmt::format("given up after {} tries", attempts));
}

}  // namespace

S3Client::S3Client(S3Options options, CredentialsSource credentials, Clock& clock)
    : options_(std::move(options)),
      credentials_(std::move(credentials)),
      clock_(clock),
      http_(options_.tls),
      scheme_(SchemeOf(options_.endpoint)),
      host_(HostOf(options_)),
      description_(fmt::format("bucket {} at {}", options_.bucket, options_.endpoint)) {}

absl::StatusOr<S3Listing> S3Client::List(const std::string& prefix, const std::string& delimiter,
                                         std::stop_token stop) const {
  S3Listing listing;
  std::string continuation_token;
  do {
    QueryParameters query = {
        {"list-type", "2"}, {"prefix", prefix}, {"max-keys", fmt::format("{}", options_.page_size)}};
    if (!delimiter.empty()) query.emplace_back("delimiter", delimiter);
    if (!continuation_token.empty()) query.emplace_back("continuation-token", continuation_token);
    ASSIGN_OR_RETURN(const HttpResponse response, Request("", query, kMaxListPageBytes, stop));
    absl::StatusOr<S3ListPage> page = ParseS3ListPage(response.body);
    if (!page.ok()) return Annotate(page.status(), description_);
    if (!continuation_token.empty() && page->continuation_token == continuation_token) {
      return absl::DataLossError(fmt::format("{}: the list comes back to where it was", description_));
    }
    continuation_token = page->continuation_token;
    std::move(page->objects.begin(), page->objects.end(), std::back_inserter(listing.objects));
    std::move(page->common_prefixes.begin(), page->common_prefixes.end(), std::back_inserter(listing.common_prefixes));
    if (listing.objects.size() + listing.common_prefixes.size() > kMaxListed) {
      return absl::ResourceExhaustedError(
          fmt::format("{}: more than {} objects below '{}'", description_, kMaxListed, Printable(prefix)));
    }
  } while (!continuation_token.empty());
  return listing;
}

absl::StatusOr<std::string> S3Client::Get(const std::string& key, uint64_t max_bytes, std::stop_token stop) const {
  ASSIGN_OR_RETURN(HttpResponse response, Request(key, {}, max_bytes, std::move(stop)));
  return std::move(response.body);
}

absl::StatusOr<S3Download> S3Client::Download(const std::string& key, const std::filesystem::path& folder,
                                              uint64_t max_bytes, std::stop_token stop) const {
  const std::string what = fmt::format("object {} of {}", Printable(key), description_);
  ASSIGN_OR_RETURN(S3DownloadFile file, S3DownloadFile::Create(folder, max_bytes));
  Backoff backoff(options_.first_pause, options_.longest_pause);
  int attempts = 0;
  int restarts = 0;
  while (true) {
    const uint64_t size_before = file.size();
    absl::Status status = TransferOnce(key, file, stop);
    if (status.ok()) status = file.Verify();
    if (status.ok()) {
      const uint64_t size = file.size();
      return S3Download{.file = file.Keep(), .size = size};
    }
    if (absl::IsAborted(status) || absl::IsDataLoss(status)) {
      status = Annotate(status, what);
      if (++restarts > kMaxRestarts) return status;
      RETURN_IF_ERROR(file.Restart());
    } else if (!IsUnreachable(status)) {
      return status;
    } else if (file.size() >= size_before + kProgressBytes) {
      attempts = 0;
      backoff.Reset();
    }
    if (++attempts >= options_.attempts) return GivenUp(status, attempts);
    if (!WaitUnlessStopped(stop, backoff.Next())) return absl::CancelledError(fmt::format("{}: stopped", what));
  }
}

absl::Status S3Client::TransferOnce(const std::string& key, S3DownloadFile& file, std::stop_token stop) const {
  HttpHeaders headers = file.ResumeHeaders();
  headers.emplace_back("x-amz-checksum-mode", "ENABLED");
  ASSIGN_OR_RETURN(const Signed request, Prepare(key, {}, std::move(headers)));
  file.BeginTransfer();
  const absl::StatusOr<HttpResponse> response =
      http_.Stream(request.http, std::move(stop),
                   [&](const HttpResponse& head, std::string_view chunk) { return file.Take(head, chunk); });
  if (!response.ok()) {
    return IsUnreachable(response.status())
               ? response.status()
               : Annotate(response.status(), fmt::format("object {} of {}", Printable(key), description_));
  }
  return file.TransferStatus(*response, ContextOf(key, request));
}

absl::StatusOr<S3Client::Signed> S3Client::Prepare(const std::string& key, const QueryParameters& query,
                                                   HttpHeaders headers) const {
  ASSIGN_OR_RETURN(const AwsCredentials credentials, credentials_());
  headers.emplace_back("host", host_);
  headers.emplace_back("x-amz-content-sha256", kEmptyPayloadSha256);
  const std::string path = options_.path_style ? fmt::format("/{}/{}", options_.bucket, key) : fmt::format("/{}", key);
  const RequestToSign to_sign{.method = "GET",
                              .path = EncodePath(path),
                              .query = query,
                              .headers = headers,
                              .payload_sha256 = std::string(kEmptyPayloadSha256)};
  Signed request{.http = {}, .access_key = credentials.access_key, .signed_at = clock_.Now()};
  for (auto& header :
       SignRequest(to_sign, credentials, {.region = options_.region, .service = "s3"}, request.signed_at)) {
    headers.push_back(std::move(header));
  }
  const std::string query_text = CanonicalQuery(query);
  request.http.url =
      fmt::format("{}://{}{}{}{}", scheme_, host_, to_sign.path, query_text.empty() ? "" : "?", query_text);
  request.http.headers = std::move(headers);
  request.http.silence_timeout = options_.silence_timeout;
  return request;
}

S3ErrorContext S3Client::ContextOf(const std::string& key, const Signed& request) const {
  return {.bucket = options_.bucket,
          .key = key,
          .endpoint = options_.endpoint,
          .region = options_.region,
          .access_key = request.access_key,
          .now = request.signed_at};
}

absl::StatusOr<HttpResponse> S3Client::RequestOnce(const std::string& key, const QueryParameters& query,
                                                   uint64_t max_bytes, std::stop_token stop) const {
  ASSIGN_OR_RETURN(Signed request, Prepare(key, query, {}));
  request.http.max_response_bytes = max_bytes;
  ASSIGN_OR_RETURN(HttpResponse response, http_.Send(request.http, std::move(stop)));
  if (response.status == 200) return response;
  return StatusOfS3Error(response, ContextOf(key, request));
}

absl::StatusOr<HttpResponse> S3Client::Request(const std::string& key, const QueryParameters& query, uint64_t max_bytes,
                                               std::stop_token stop) const {
  Backoff backoff(options_.first_pause, options_.longest_pause);
  for (int attempts = 1;; ++attempts) {
    absl::StatusOr<HttpResponse> response = RequestOnce(key, query, max_bytes, stop);
    if (response.ok() || !IsUnreachable(response.status())) return response;
    if (attempts >= options_.attempts) return GivenUp(response.status(), attempts);
    if (!WaitUnlessStopped(stop, backoff.Next())) return absl::CancelledError(fmt::format("{}: stopped", description_));
  }
}

}  // namespace understudy::net
