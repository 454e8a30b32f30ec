// webhook_intake.h: takes object events that a forwarder posts, in the form of core/kube/event_json.h.
//
//   POST any path, Authorization: Bearer <token>, and, where a secret is configured, x-hub-signature-256
//   200 {"event_id": …, "repeated": false}   the event is on disk; with "ignored": why, it isn't of a watched namespace
//   400, 401, 405, 408, 413, 500, 503 {"error": …}   it isn't taken; 503 says when to come again
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/model/object.h"
#include "core/net/http_server.h"
#include "core/net/secret_file.h"

namespace understudy::primary {

struct WebhookOptions {
  std::string listen;
  std::string token_file;
  std::string hmac_secret_file;  // empty: bodies needn't be signed
  size_t max_body_bytes = size_t{1} << 20;
  std::optional<net::HttpServerTls> tls;
  std::set<std::string> namespaces;  // empty: all
};

// Thread-safe. Serves from Start until it is destroyed.
class WebhookIntake {
 public:
  // Returns whether the event repeats one that was taken before; OK means that it is on disk. RESOURCE_EXHAUSTED: not
  // now. Called from several threads.
  using Accept = std::function<absl::StatusOr<bool>(const model::ObjectEvent&)>;

  // INVALID_ARGUMENT: a secret or TLS file is unfit, or there is no such address. INTERNAL: can't listen.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<WebhookIntake>> Start(const WebhookOptions& options,
                                                                            Accept accept,
                                                                            Clock& clock = Clock::System());

  [[nodiscard]] int port() const { return server_->port(); }
  // Requests that were answered, by HTTP status; not those that never became one.
  [[nodiscard]] std::map<int, uint64_t> Answers() const;

 private:
  WebhookIntake(const WebhookOptions& options, Accept accept, Clock& clock);

  [[nodiscard]] net::HttpServer::Response Answer(const net::HttpServer::Request& request);
  [[nodiscard]] absl::Status Authenticate(const net::HttpServer::Request& request);
  [[nodiscard]] net::HttpServer::Response Take(const std::string& body);

  const std::set<std::string> namespaces_;
  const Accept accept_;
  Clock& clock_;
  net::SecretFile token_;
  std::optional<net::SecretFile> hmac_secret_;

  mutable absl::Mutex mutex_;
  std::map<int, uint64_t> answers_ ABSL_GUARDED_BY(mutex_);

  // Last, so that no request comes once the rest is going.
  std::unique_ptr<net::HttpServer> server_;
};

}  // namespace understudy::primary
