// s3_client.h: reads a bucket of an S3 server: lists of objects, small objects, and large ones into a file.
//
// Requests are signed (sigv4.h) and tried again after 429, a server's error or a broken connection, with growing
// pauses. Credentials are asked for before each request, so that renewed ones need no restart.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/net/http_client.h"
#include "core/net/s3_error.h"
#include "core/net/s3_list_page.h"
#include "core/net/sigv4.h"

namespace understudy::net {

class S3DownloadFile;

struct S3Options {
  std::string endpoint = {};  // scheme, host and port: "https://s3.example.com"
  std::string region = "us-east-1";
  std::string bucket = {};
  bool path_style = true;  // false: the bucket stands before the host's name
  HttpTls tls = {};
  int attempts = 5;  // of each request, or of a download since its last byte
  absl::Duration first_pause = absl::Milliseconds(250);
  absl::Duration longest_pause = absl::Seconds(5);
  absl::Duration silence_timeout = absl::Seconds(60);
  uint64_t page_size = 1000;  // keys asked for at a time
};

struct S3Listing {
  std::vector<S3Object> objects;             // in the server's order
  std::vector<std::string> common_prefixes;  // with the delimiter at their end
};

struct S3Download {
  std::filesystem::path file = {};  // mode 0600; the caller's
  uint64_t size = 0;                // bytes
};

// Thread-safe. Errors, besides those named: UNAVAILABLE and DEADLINE_EXCEEDED (after all attempts), CANCELLED (`stop`),
// those of StatusOfS3Error, and those of the credentials.
class S3Client {
 public:
  using CredentialsSource = std::function<absl::StatusOr<AwsCredentials>()>;

  // `credentials` may be called from any thread; `clock` outlives the client.
  S3Client(S3Options options, CredentialsSource credentials, Clock& clock = Clock::System());
  S3Client(const S3Client&) = delete;
  S3Client& operator=(const S3Client&) = delete;

  // All objects whose key begins with `prefix`, over all pages; with a delimiter, those with one after the prefix count
  // as one common prefix. RESOURCE_EXHAUSTED: more than kMaxListed.
  static constexpr size_t kMaxListed = 200'000;
  [[nodiscard]] absl::StatusOr<S3Listing> List(const std::string& prefix, const std::string& delimiter,
                                               std::stop_token stop = {}) const;

  // A whole object. RESOURCE_EXHAUSTED: it is larger than `max_bytes`.
  [[nodiscard]] absl::StatusOr<std::string> Get(const std::string& key, uint64_t max_bytes,
                                                std::stop_token stop = {}) const;

  // A whole object into a new file of `folder`, which exists. A transfer that breaks goes on where it stopped; if the
  // object was replaced meanwhile, it begins anew. The size and the server's digests (ETag where it is one,
  // x-amz-checksum-sha256 and -crc32) are verified: DATA_LOSS. RESOURCE_EXHAUSTED: it is larger than `max_bytes`. No
  // file is left after an error.
  [[nodiscard]] absl::StatusOr<S3Download> Download(const std::string& key, const std::filesystem::path& folder,
                                                    uint64_t max_bytes, std::stop_token stop = {}) const;

  // "bucket velero at https://s3.example.com": for messages.
  [[nodiscard]] const std::string& Description() const { return description_; }

 private:
  struct Signed {
    HttpRequest http;
    std::string access_key;
    absl::Time signed_at;
  };
  // An empty key: the bucket.
  [[nodiscard]] absl::StatusOr<Signed> Prepare(const std::string& key, const QueryParameters& query,
                                               HttpHeaders headers) const;
  [[nodiscard]] S3ErrorContext ContextOf(const std::string& key, const Signed& request) const;

  // An answer of success; an error document has become a status.
  [[nodiscard]] absl::StatusOr<HttpResponse> Request(const std::string& key, const QueryParameters& query,
                                                     uint64_t max_bytes, std::stop_token stop) const;
  [[nodiscard]] absl::StatusOr<HttpResponse> RequestOnce(const std::string& key, const QueryParameters& query,
                                                         uint64_t max_bytes, std::stop_token stop) const;
  // Brings what the file lacks, or a part of it.
  [[nodiscard]] absl::Status TransferOnce(const std::string& key, S3DownloadFile& file, std::stop_token stop) const;

  const S3Options options_;
  const CredentialsSource credentials_;
  Clock& clock_;
  const HttpClient http_;
  const std::string scheme_;  // "https"
  const std::string host_;    // as the header has it
  const std::string description_;
};

}  // namespace understudy::net
