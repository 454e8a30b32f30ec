// http_client.h: HTTP requests over libcurl: one answer at a time, or a stream of chunks that a stop request ends.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::net {

// Where both a file and a PEM text are given, the text counts. Neither: the system's certificate authorities; no client
// certificate.
struct HttpTls {
  std::string ca_file;
  std::string ca_pem;
  std::string certificate_file;
  std::string certificate_pem;
  std::string key_file;
  std::string key_pem;
  bool verify_server = true;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url = {};
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};  // sent when not empty
  std::string bearer_token = {};
  absl::Duration connect_timeout = absl::Seconds(10);  // TCP and TLS
  absl::Duration silence_timeout = absl::Seconds(30);  // without a byte in either direction
  absl::Duration total_timeout = absl::InfiniteDuration();
  size_t max_response_bytes = size_t{256} << 20;  // of the body; not for streams
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // empty for streams
};

// Thread-safe. Connections are kept and used again. Redirects aren't followed. Any HTTP status is a response, not an
// error. Errors: UNAVAILABLE (no connection, TLS refused, broken off), DEADLINE_EXCEEDED (a timeout), CANCELLED
// (`stop`), RESOURCE_EXHAUSTED (the body is over its limit), INVALID_ARGUMENT (URL, certificate or key unusable); each
// names the URL and curl's reason.
class HttpClient {
 public:
  explicit HttpClient(HttpTls tls);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  [[nodiscard]] absl::StatusOr<HttpResponse> Send(const HttpRequest& request, std::stop_token stop = {}) const;

  // Calls `on_chunk` with an empty chunk when the head of the answer has come, then with each piece of the body as it
  // comes; its error ends the stream and is returned.
  using OnChunk = std::function<absl::Status(const HttpResponse& head, std::string_view chunk)>;
  [[nodiscard]] absl::StatusOr<HttpResponse> Stream(const HttpRequest& request, std::stop_token stop,
                                                    const OnChunk& on_chunk) const;

 private:
  class Session;

  [[nodiscard]] std::unique_ptr<Session> TakeSession() const;
  void ReturnSession(std::unique_ptr<Session> session) const;

  const HttpTls tls_;
  mutable absl::Mutex mutex_;
  mutable std::vector<std::unique_ptr<Session>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::net
