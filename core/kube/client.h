// client.h: the Kubernetes API: read, list, watch, apply, patch, create and delete objects as JSON.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/kube/access.h"
#include "core/kube/resource.h"
#include "core/net/http_client.h"
#include "nlohmann/json.hpp"

namespace understudy::kube {

inline constexpr std::string_view kFieldManager = "understudy";

struct ClientOptions {
  int list_page_size = 500;
  absl::Duration connect_timeout = absl::Seconds(10);
  absl::Duration request_timeout = absl::Seconds(60);
  // A watch without a byte for so long has ended: bookmarks come about once a minute.
  absl::Duration watch_silence_timeout = absl::Seconds(150);
  // How long the server is asked to serve a watch; it is begun again after that.
  absl::Duration watch_duration = absl::Minutes(5);
  // Ends every call that isn't given a stop of its own with CANCELLED.
  std::stop_token stop{};
};

struct ListResult {
  std::vector<nlohmann::json> items;  // with apiVersion and kind
  std::string resource_version;       // to watch from
};

struct WatchEvent {
  std::string type;  // ADDED, MODIFIED, DELETED or BOOKMARK
  nlohmann::json object;
};

enum class PatchType { kMerge, kJson };

// How long the server asked to wait before the call is made again (Retry-After).
[[nodiscard]] std::optional<absl::Duration> RetryAfter(const absl::Status& status);
// `reason` of the API's Status ("AlreadyExists", "NotFound", …); empty when there was none.
[[nodiscard]] std::string ApiReason(const absl::Status& status);
// The status for an answer of the API server to `what`; OK for 2xx. The message is the API's own.
// 400 and 422 INVALID_ARGUMENT, 401 UNAUTHENTICATED, 403 PERMISSION_DENIED, 404 NOT_FOUND, 409 ALREADY_EXISTS or
// ABORTED by reason, 410 OUT_OF_RANGE, 408, 429 and 5xx UNAVAILABLE, any other FAILED_PRECONDITION.
[[nodiscard]] absl::Status StatusOfResponse(const net::HttpResponse& response, std::string_view what);

// Thread-safe. Errors are StatusOfResponse's and HttpClient's. Every call but Watch ends after `request_timeout`.
class Client {
 public:
  explicit Client(ClusterAccess access, ClientOptions options = {}, Clock& clock = Clock::System());

  [[nodiscard]] const ClusterAccess& access() const { return access_; }

  // The server's version ("v1.27.3"): a way to see whether it can be reached.
  [[nodiscard]] absl::StatusOr<std::string> Version() const;

  [[nodiscard]] absl::StatusOr<nlohmann::json> Get(const Resource& resource, std::string_view namespace_name,
                                                   std::string_view name) const;

  // Everything at one resource version, read in pages. A list that expires half-way is begun anew, a few times.
  // UNAVAILABLE, too, when the answer can't be everything: it says of itself that it ends early, its pages are of
  // different versions, or an item has no name.
  [[nodiscard]] absl::StatusOr<ListResult> List(const Resource& resource, std::string_view namespace_name,
                                                std::stop_token stop = {}) const;

  // Calls `on_event` with each change after `resource_version`. OK: the server ended the watch in good order; watch
  // again from the last version seen. OUT_OF_RANGE: the version has expired; list again. CANCELLED: `stop`. `on_open`
  // is called when the server has accepted the watch. The server is asked to end it after `longest`, or the option's
  // watch_duration when that is shorter.
  [[nodiscard]] absl::Status Watch(
      const Resource& resource, std::string_view namespace_name, std::string_view resource_version,
      std::stop_token stop, const std::function<void(WatchEvent)>& on_event,
      const std::function<void()>& on_open = [] {}, absl::Duration longest = absl::InfiniteDuration()) const;

  // Server-side apply as kFieldManager, never forced. ABORTED: another manager owns a field with another value.
  [[nodiscard]] absl::StatusOr<nlohmann::json> Apply(const Resource& resource, std::string_view namespace_name,
                                                     std::string_view name, const nlohmann::json& object) const;
  // What Apply would return; changes nothing.
  [[nodiscard]] absl::StatusOr<nlohmann::json> TryApply(const Resource& resource, std::string_view namespace_name,
                                                        std::string_view name, const nlohmann::json& object) const;
  [[nodiscard]] absl::StatusOr<nlohmann::json> Patch(const Resource& resource, std::string_view namespace_name,
                                                     std::string_view name, PatchType type,
                                                     const nlohmann::json& patch) const;
  [[nodiscard]] absl::StatusOr<nlohmann::json> Create(const Resource& resource, std::string_view namespace_name,
                                                      const nlohmann::json& object) const;

  // Of what is served below an object, such as "stop" of a virtual machine. NOT_FOUND: the object isn't there, or
  // nothing of that name is served: the two look alike. An answer without a body is fine.
  [[nodiscard]] absl::Status Put(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                 std::string_view subresource, const nlohmann::json& body) const;
  [[nodiscard]] absl::StatusOr<nlohmann::json> GetSubresource(const Resource& resource, std::string_view namespace_name,
                                                              std::string_view name,
                                                              std::string_view subresource) const;

  // `uid` not empty: only that very object; ABORTED when the name stands for another by now.
  [[nodiscard]] absl::Status Delete(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                    const std::string& uid) const;

 private:
  [[nodiscard]] absl::StatusOr<nlohmann::json> Call(std::string_view method, const std::string& path_and_query,
                                                    std::string_view content_type, const std::string& body,
                                                    std::stop_token stop = {}) const;
  // The answer, which was one of success.
  [[nodiscard]] absl::StatusOr<net::HttpResponse> Ask(net::HttpRequest& request, std::stop_token stop) const;
  [[nodiscard]] absl::StatusOr<net::HttpResponse> SendSignedIn(net::HttpRequest& request, std::stop_token stop) const;
  [[nodiscard]] net::HttpRequest MakeRequest(std::string_view method, const std::string& path_and_query) const;
  [[nodiscard]] absl::StatusOr<std::string> Token(bool fresh) const;

  const ClusterAccess access_;
  const ClientOptions options_;
  Clock& clock_;
  const net::HttpClient http_;

  mutable absl::Mutex token_mutex_;
  mutable std::string token_ ABSL_GUARDED_BY(token_mutex_);
  mutable std::optional<absl::Duration> token_read_at_ ABSL_GUARDED_BY(token_mutex_);
};

// What a cluster is recognised by: the uid of its namespace kube-system, which is made with it and can't be deleted.
[[nodiscard]] absl::StatusOr<std::string> ClusterUid(const Client& client);

}  // namespace understudy::kube
