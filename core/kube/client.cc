#include "core/kube/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"

namespace understudy::kube {
namespace {

using nlohmann::json;

constexpr const char* kRetryAfterPayload = "understudy.io/retry-after-seconds";
constexpr const char* kReasonPayload = "understudy.io/kubernetes-reason";
constexpr absl::Duration kTokenAge = absl::Minutes(1);
constexpr size_t kMaxTokenBytes = 64 << 10;
constexpr size_t kMaxWatchLineBytes = size_t{16} << 20;  // etcd refuses objects over 1.5 MiB; JSON may be longer
constexpr size_t kMaxErrorBytes = 64 << 10;
constexpr size_t kMaxMessageBytes = 500;  // of an answer that isn't the API's
constexpr int kListAttempts = 3;
constexpr int kServerError = 500;

std::string QueryEscape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

absl::StatusCode CodeFor(int http_status, std::string_view reason) {
  switch (http_status) {
    case 400:
    case 422:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 409:
      return reason == "AlreadyExists" ? absl::StatusCode::kAlreadyExists : absl::StatusCode::kAborted;
    case 410:
      return absl::StatusCode::kOutOfRange;
    case 408:
    case 429:
      return absl::StatusCode::kUnavailable;
    default:
      return http_status >= 500 ? absl::StatusCode::kUnavailable : absl::StatusCode::kFailedPrecondition;
  }
}

std::string StringAt(const json& object, const char* key) {
  const auto value = object.find(key);
  return value != object.end() && value->is_string() ? value->get<std::string>() : std::string();
}

bool IsNamed(const json& object) {
  if (!object.is_object()) return false;
  const auto metadata = object.find("metadata");
  return metadata != object.end() && metadata->is_object() && !StringAt(*metadata, "name").empty();
}

// Of a Retry-After header: seconds, or a moment by the server's own clock (its Date header) as far as it says.
std::optional<int64_t> SecondsToWait(const net::HttpResponse& response) {
  constexpr char kHttpDate[] = "%a, %d %b %Y %H:%M:%S GMT";
  const auto header = response.headers.find("retry-after");
  if (header == response.headers.end()) return std::nullopt;
  int64_t seconds = 0;
  if (absl::SimpleAtoi(header->second, &seconds)) return seconds >= 0 ? std::optional(seconds) : std::nullopt;
  absl::Time until;
  if (!absl::ParseTime(kHttpDate, header->second, &until, nullptr)) return std::nullopt;
  absl::Time now = Clock::System().Now();
  if (const auto date = response.headers.find("date"); date != response.headers.end()) {
    absl::Time server_time;
    if (absl::ParseTime(kHttpDate, date->second, &server_time, nullptr)) now = server_time;
  }
  return std::max<int64_t>(0, absl::ToInt64Seconds(absl::Ceil(until - now, absl::Seconds(1))));
}

// `api_status` is the API's Status object, or anything else when the answer wasn't one.
absl::Status StatusOf(int http_status, const json& api_status, std::string_view otherwise, std::string_view what) {
  std::string message(otherwise);
  std::string reason;
  if (api_status.is_object()) {
    reason = StringAt(api_status, "reason");
    if (std::string text = StringAt(api_status, "message"); !text.empty()) message = std::move(text);
  }
  absl::Status status(CodeFor(http_status, reason), fmt::format("{}: HTTP {}: {}", what, http_status, message));
  if (!reason.empty()) status.SetPayload(kReasonPayload, absl::Cord(reason));
  return status;
}

absl::StatusOr<json> ParseObject(const std::string& text, std::string_view what) {
  json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_object()) return parsed;
  return absl::UnavailableError(fmt::format("{}: the answer isn't a JSON object; is this a Kubernetes API?", what));
}

// Adds one page of a list to `result`; returns what `continue` says. Whatever makes it doubtful that the pages are
// everything there is at one version is an error: what a list lacks may be deleted at DR.
absl::StatusOr<std::string> TakePage(json& page, const Resource& resource, std::string_view what, bool first,
                                     ListResult& result) {
  const auto items = page.find("items");
  const auto metadata = page.find("metadata");
  const bool is_list = items != page.end() && (items->is_array() || items->is_null());
  if (!is_list || metadata == page.end() || !metadata->is_object()) {
    return absl::UnavailableError(fmt::format("{}: the answer isn't a list", what));
  }
  std::string version = StringAt(*metadata, "resourceVersion");
  if (version.empty()) return absl::UnavailableError(fmt::format("{}: a list without a resourceVersion", what));
  if (!first && version != result.resource_version) {
    return absl::UnavailableError(
        fmt::format("{}: a page of version {} in a list of version {}", what, version, result.resource_version));
  }
  // A list of a built-in kind may have null for no items; its items carry neither kind nor version.
  for (json& item : *items) {
    if (!IsNamed(item)) return absl::UnavailableError(fmt::format("{}: an item without a name", what));
    item["apiVersion"] = ApiVersionOf(resource);
    item["kind"] = resource.kind;
    result.items.push_back(std::move(item));
  }
  result.resource_version = std::move(version);
  std::string next = StringAt(*metadata, "continue");
  const auto remaining = metadata->find("remainingItemCount");
  if (next.empty() && remaining != metadata->end() && remaining->is_number_integer() && *remaining > 0) {
    return absl::UnavailableError(fmt::format("{}: the list ends {} items early", what, remaining->dump()));
  }
  return next;
}

// Cuts a watch's stream into its lines, one event each.
class WatchReader {
 public:
  WatchReader(std::string what, const std::function<void(WatchEvent)>& on_event)
      : what_(std::move(what)), on_event_(on_event) {}

  absl::Status Take(std::string_view chunk) {
    while (!chunk.empty()) {
      const size_t end = chunk.find('\n');
      line_.append(chunk.substr(0, end));
      if (line_.size() > kMaxWatchLineBytes) {
        return absl::ResourceExhaustedError(fmt::format("{}: an event over {} bytes", what_, kMaxWatchLineBytes));
      }
      if (end == std::string_view::npos) return absl::OkStatus();
      RETURN_IF_ERROR(TakeLine());
      chunk.remove_prefix(end + 1);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status TakeLine() {
    if (line_.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(json event, ParseObject(line_, what_));
    line_.clear();
    std::string type = StringAt(event, "type");
    const auto object = event.find("object");
    if (object == event.end() || !object->is_object()) {
      return absl::UnavailableError(fmt::format("{}: a watch event without an object", what_));
    }
    if (type == "ERROR") {
      const auto code = object->find("code");
      const bool says = code != object->end() && code->is_number_integer();
      return StatusOf(says ? code->get<int>() : kServerError, *object, "watch error", what_);
    }
    const auto metadata = object->find("metadata");
    const bool is_bookmark = type == "BOOKMARK" && metadata != object->end() && metadata->is_object();
    if (!is_bookmark && !IsNamed(*object)) {
      return absl::UnavailableError(fmt::format("{}: a watch event without the object's name", what_));
    }
    on_event_({.type = std::move(type), .object = std::move(*object)});
    return absl::OkStatus();
  }

  const std::string what_;
  const std::function<void(WatchEvent)>& on_event_;
  std::string line_;
};

}  // namespace

std::optional<absl::Duration> RetryAfter(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kRetryAfterPayload);
  int64_t seconds = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &seconds)) return std::nullopt;
  return absl::Seconds(seconds);
}

std::string ApiReason(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kReasonPayload);
  return payload ? std::string(*payload) : std::string();
}

absl::Status StatusOfResponse(const net::HttpResponse& response, std::string_view what) {
  if (response.status >= 200 && response.status < 300) return absl::OkStatus();
  const json parsed = json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  const std::string text = response.body.empty() ? "no message" : response.body.substr(0, kMaxMessageBytes);
  absl::Status status = StatusOf(response.status, parsed, text, what);
  if (const std::optional<int64_t> seconds = SecondsToWait(response)) {
    status.SetPayload(kRetryAfterPayload, absl::Cord(std::to_string(*seconds)));
  }
  return status;
}

Client::Client(ClusterAccess access, ClientOptions options, Clock& clock)
    : access_(std::move(access)), options_(std::move(options)), clock_(clock), http_(access_.tls) {}

absl::StatusOr<std::string> Client::Version() const {
  ASSIGN_OR_RETURN(const json version, Call("GET", "/version", "", ""));
  return StringAt(version, "gitVersion");
}

absl::StatusOr<json> Client::Get(const Resource& resource, std::string_view namespace_name,
                                 std::string_view name) const {
  return Call("GET", ObjectPath(resource, namespace_name, name), "", "");
}

absl::StatusOr<ListResult> Client::List(const Resource& resource, std::string_view namespace_name,
                                        std::stop_token stop) const {
  const std::string path = CollectionPath(resource, namespace_name);
  ListResult result;
  std::string next;
  int attempts = 1;
  while (true) {
    std::string query = fmt::format("{}?limit={}", path, options_.list_page_size);
    if (!next.empty()) query += fmt::format("&continue={}", QueryEscape(next));
    absl::StatusOr<json> page = Call("GET", query, "", "", stop);
    if (absl::IsOutOfRange(page.status()) && !next.empty() && attempts++ < kListAttempts) {
      // What was read so far belongs to a version that is gone: pages of two versions don't make one list.
      result.items.clear();
      next.clear();
      continue;
    }
    RETURN_IF_ERROR(page.status());
    const bool first = next.empty();
    ASSIGN_OR_RETURN(next, TakePage(*page, resource, fmt::format("GET {}{}", access_.server, path), first, result));
    if (next.empty()) return result;
  }
}

absl::Status Client::Watch(const Resource& resource, std::string_view namespace_name, std::string_view resource_version,
                           std::stop_token stop, const std::function<void(WatchEvent)>& on_event,
                           const std::function<void()>& on_open, absl::Duration longest) const {
  net::HttpRequest request =
      MakeRequest("GET", fmt::format("{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
                                     CollectionPath(resource, namespace_name),
                                     absl::ToInt64Seconds(std::min(options_.watch_duration, longest)),
                                     QueryEscape(resource_version)));
  request.silence_timeout = options_.watch_silence_timeout;
  request.total_timeout = absl::InfiniteDuration();
  const std::string what = fmt::format("watch {}", request.url);
  for (bool fresh_token : {false, true}) {
    WatchReader reader(what, on_event);
    std::string refusal;
    const auto take = [&](const net::HttpResponse& head, std::string_view chunk) {
      if (head.status == 200 && chunk.empty()) on_open();
      if (head.status == 200) return reader.Take(chunk);
      refusal.append(chunk.substr(0, kMaxErrorBytes - refusal.size()));
      return absl::OkStatus();
    };
    ASSIGN_OR_RETURN(request.bearer_token, Token(fresh_token));
    ASSIGN_OR_RETURN(net::HttpResponse response, http_.Stream(request, stop, take));
    if (response.status == 401 && !fresh_token && !access_.token_file.empty()) continue;
    response.body = std::move(refusal);
    return StatusOfResponse(response, what);
  }
  return absl::InternalError(what);
}

absl::StatusOr<json> Client::Apply(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                   const json& object) const {
  const std::string path = fmt::format("{}?fieldManager={}", ObjectPath(resource, namespace_name, name), kFieldManager);
  return Call("PATCH", path, "application/apply-patch+yaml", object.dump());
}

absl::StatusOr<json> Client::TryApply(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                      const json& object) const {
  const std::string path =
      fmt::format("{}?dryRun=All&fieldManager={}", ObjectPath(resource, namespace_name, name), kFieldManager);
  return Call("PATCH", path, "application/apply-patch+yaml", object.dump());
}

absl::StatusOr<json> Client::Patch(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                   PatchType type, const json& patch) const {
  const std::string path = fmt::format("{}?fieldManager={}", ObjectPath(resource, namespace_name, name), kFieldManager);
  const std::string_view content_type =
      type == PatchType::kMerge ? "application/merge-patch+json" : "application/json-patch+json";
  return Call("PATCH", path, content_type, patch.dump());
}

absl::StatusOr<json> Client::Create(const Resource& resource, std::string_view namespace_name,
                                    const json& object) const {
  const std::string path = fmt::format("{}?fieldManager={}", CollectionPath(resource, namespace_name), kFieldManager);
  return Call("POST", path, "application/json", object.dump());
}

absl::Status Client::Put(const Resource& resource, std::string_view namespace_name, std::string_view name,
                         std::string_view subresource, const json& body) const {
  net::HttpRequest request =
      MakeRequest("PUT", fmt::format("{}/{}", ObjectPath(resource, namespace_name, name), subresource));
  request.headers.emplace_back("Content-Type", "application/json");
  request.body = body.dump();
  return Ask(request, {}).status();
}

absl::StatusOr<json> Client::GetSubresource(const Resource& resource, std::string_view namespace_name,
                                            std::string_view name, std::string_view subresource) const {
  return Call("GET", fmt::format("{}/{}", ObjectPath(resource, namespace_name, name), subresource), "", "");
}

absl::Status Client::Delete(const Resource& resource, std::string_view namespace_name, std::string_view name,
                            const std::string& uid) const {
  json options = {{"apiVersion", "v1"}, {"kind", "DeleteOptions"}, {"propagationPolicy", "Background"}};
  if (!uid.empty()) options["preconditions"] = {{"uid", uid}};
  return Call("DELETE", ObjectPath(resource, namespace_name, name), "application/json", options.dump()).status();
}

absl::StatusOr<json> Client::Call(std::string_view method, const std::string& path_and_query,
                                  std::string_view content_type, const std::string& body, std::stop_token stop) const {
  net::HttpRequest request = MakeRequest(method, path_and_query);
  if (!content_type.empty()) request.headers.emplace_back("Content-Type", content_type);
  request.body = body;
  ASSIGN_OR_RETURN(const net::HttpResponse response, Ask(request, stop));
  return ParseObject(response.body, fmt::format("{} {}", method, request.url));
}

absl::StatusOr<net::HttpResponse> Client::Ask(net::HttpRequest& request, std::stop_token stop) const {
  if (!stop.stop_possible()) stop = options_.stop;
  ASSIGN_OR_RETURN(net::HttpResponse response, SendSignedIn(request, std::move(stop)));
  RETURN_IF_ERROR(StatusOfResponse(response, fmt::format("{} {}", request.method, request.url)));
  return response;
}

absl::StatusOr<net::HttpResponse> Client::SendSignedIn(net::HttpRequest& request, std::stop_token stop) const {
  ASSIGN_OR_RETURN(request.bearer_token, Token(/*fresh=*/false));
  absl::StatusOr<net::HttpResponse> response = http_.Send(request, stop);
  if (!response.ok() || response->status != 401 || access_.token_file.empty()) return response;
  ASSIGN_OR_RETURN(request.bearer_token, Token(/*fresh=*/true));
  return http_.Send(request, stop);
}

net::HttpRequest Client::MakeRequest(std::string_view method, const std::string& path_and_query) const {
  net::HttpRequest request;
  request.method = method;
  request.url = access_.server + path_and_query;
  request.headers = {{"Accept", "application/json"}, {"User-Agent", "understudy"}};
  request.connect_timeout = options_.connect_timeout;
  request.silence_timeout = options_.request_timeout;
  request.total_timeout = options_.request_timeout;
  return request;
}

absl::StatusOr<std::string> ClusterUid(const Client& client) {
  ASSIGN_OR_RETURN(const json object, client.Get(kNamespaces, "", "kube-system"));
  std::string uid = StringAt(object.value("metadata", json::object()), "uid");
  if (uid.empty()) return absl::UnavailableError("namespace kube-system has no uid");
  return uid;
}

absl::StatusOr<std::string> Client::Token(bool fresh) const {
  if (access_.token_file.empty()) return access_.token;
  absl::MutexLock lock(&token_mutex_);
  const absl::Duration now = clock_.Monotonic();
  if (!fresh && token_read_at_ && now - *token_read_at_ < kTokenAge) return token_;
  std::ifstream file(access_.token_file, std::ios::binary);
  std::string text(kMaxTokenBytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  absl::StripAsciiWhitespace(&text);
  if (text.empty()) {
    return absl::UnauthenticatedError(fmt::format("token file {}: can't be read, or is empty", access_.token_file));
  }
  token_ = std::move(text);
  token_read_at_ = now;
  return token_;
}

}  // namespace understudy::kube
