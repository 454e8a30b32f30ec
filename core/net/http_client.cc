#include "core/net/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "core/base/clock.h"

namespace understudy::net {
namespace {

constexpr size_t kMaxIdleSessions = 8;
constexpr size_t kMaxHeaderBytes = size_t{256} << 10;
constexpr absl::Duration kLongestPoll = absl::Seconds(1);
constexpr long kKeepAliveSeconds = 30;

// OpenSSL writes to sockets without MSG_NOSIGNAL, and curl leaves SIGPIPE alone in threaded programs: a server that
// hangs up must not end the process.
CURLcode InitialiseCurl() {
  struct sigaction present {};
  if (sigaction(SIGPIPE, nullptr, &present) == 0 && present.sa_handler == SIG_DFL) signal(SIGPIPE, SIG_IGN);
  return curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct HeaderList {
  curl_slist* list = nullptr;
  ~HeaderList() { curl_slist_free_all(list); }
  void Add(const std::string& line) {
    curl_slist* longer = curl_slist_append(list, line.c_str());
    UNDERSTUDY_CHECK(longer != nullptr);
    list = longer;
  }
};

curl_blob BlobOf(const std::string& bytes) {
  return {.data = const_cast<char*>(bytes.data()), .len = bytes.size(), .flags = CURL_BLOB_COPY};
}

absl::Status StatusOfCurl(CURLcode code, std::string_view what, std::string_view detail) {
  const std::string message = fmt::format("{}: {}", what, detail.empty() ? curl_easy_strerror(code) : detail);
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return absl::DeadlineExceededError(message);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
      return absl::InvalidArgumentError(message);
    default:
      return absl::UnavailableError(message);
  }
}

}  // namespace

// One transfer at a time, with the connection that it leaves behind.
class HttpClient::Session {
 public:
  explicit Session(const HttpTls& tls) : tls_(tls), multi_(curl_multi_init()), easy_(curl_easy_init()) {
    UNDERSTUDY_CHECK(multi_ != nullptr && easy_ != nullptr);
  }
  ~Session() {
    curl_easy_cleanup(easy_);
    curl_multi_cleanup(multi_);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  absl::StatusOr<HttpResponse> Run(const HttpRequest& request, std::stop_token stop, const OnChunk& on_chunk) {
    response_ = {};
    header_bytes_ = 0;
    on_chunk_ = &on_chunk;
    callback_status_ = absl::OkStatus();
    what_ = fmt::format("{} {}", request.method, request.url);
    HeaderList headers;
    RETURN_IF_ERROR(Configure(request, headers));
    UNDERSTUDY_CHECK(curl_multi_add_handle(multi_, easy_) == CURLM_OK);
    const absl::Status status = Transfer(request.silence_timeout, stop);
    curl_multi_remove_handle(multi_, easy_);
    RETURN_IF_ERROR(status);
    long code = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &code);
    response_.status = static_cast<int>(code);
    return std::move(response_);
  }

  // For a body that is collected into the response.
  absl::Status Collect(std::string_view chunk, size_t limit) {
    if (response_.body.size() + chunk.size() > limit) {
      return absl::ResourceExhaustedError(fmt::format("{}: the answer is larger than {} bytes", what_, limit));
    }
    response_.body.append(chunk);
    return absl::OkStatus();
  }

 private:
  template <typename Value>
  void Set(CURLoption option, Value value) {
    const CURLcode result = curl_easy_setopt(easy_, option, value);
    if (result != CURLE_OK && set_error_ == CURLE_OK) set_error_ = result;
  }

  absl::Status Configure(const HttpRequest& request, HeaderList& headers) {
    curl_easy_reset(easy_);
    set_error_ = CURLE_OK;
    error_text_.fill('\0');
    Set(CURLOPT_ERRORBUFFER, error_text_.data());
    Set(CURLOPT_URL, request.url.c_str());
    Set(CURLOPT_PATH_AS_IS, 1L);  // what a signature was made for is what is sent
    Set(CURLOPT_PROTOCOLS_STR, "http,https");
    Set(CURLOPT_NOSIGNAL, 1L);
    Set(CURLOPT_TCP_KEEPALIVE, 1L);
    Set(CURLOPT_TCP_KEEPIDLE, kKeepAliveSeconds);
    Set(CURLOPT_TCP_KEEPINTVL, kKeepAliveSeconds);
    // Each session carries one transfer at a time: HTTP/2 would bring nothing but its own ways to fail.
    Set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(request.connect_timeout)));
    if (request.total_timeout != absl::InfiniteDuration()) {
      Set(CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(request.total_timeout)));
    }
    Set(CURLOPT_HEADERFUNCTION, &Session::OnHeader);
    Set(CURLOPT_HEADERDATA, this);
    Set(CURLOPT_WRITEFUNCTION, &Session::OnBody);
    Set(CURLOPT_WRITEDATA, this);
    ConfigureMethod(request);
    ConfigureTls();
    for (const auto& [name, value] : request.headers) headers.Add(fmt::format("{}: {}", name, value));
    if (!request.bearer_token.empty()) headers.Add(fmt::format("Authorization: Bearer {}", request.bearer_token));
    headers.Add("Expect:");
    Set(CURLOPT_HTTPHEADER, headers.list);
    if (set_error_ == CURLE_OK) return absl::OkStatus();
    return absl::InvalidArgumentError(fmt::format("{}: {}", what_, curl_easy_strerror(set_error_)));
  }

  void ConfigureMethod(const HttpRequest& request) {
    if (request.method == "HEAD") Set(CURLOPT_NOBODY, 1L);
    const bool may_have_body = request.method == "POST" || request.method == "PUT" || request.method == "PATCH";
    if (may_have_body || !request.body.empty()) {
      Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      Set(CURLOPT_POSTFIELDS, request.body.data());
    }
    Set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }

  void ConfigureTls() {
    Set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    Set(CURLOPT_SSL_VERIFYPEER, tls_.verify_server ? 1L : 0L);
    Set(CURLOPT_SSL_VERIFYHOST, tls_.verify_server ? 2L : 0L);
    SetPem(CURLOPT_CAINFO_BLOB, tls_.ca_pem, CURLOPT_CAINFO, tls_.ca_file);
    SetPem(CURLOPT_SSLCERT_BLOB, tls_.certificate_pem, CURLOPT_SSLCERT, tls_.certificate_file);
    SetPem(CURLOPT_SSLKEY_BLOB, tls_.key_pem, CURLOPT_SSLKEY, tls_.key_file);
  }

  void SetPem(CURLoption blob_option, const std::string& pem, CURLoption file_option, const std::string& file) {
    if (!pem.empty()) {
      curl_blob blob = BlobOf(pem);
      Set(blob_option, &blob);
    } else if (!file.empty()) {
      Set(file_option, file.c_str());
    }
  }

  absl::Status Transfer(absl::Duration silence_timeout, std::stop_token stop) {
    // The one call of a multi handle that another thread may make.
    const std::stop_callback wake(stop, [this] { curl_multi_wakeup(multi_); });
    const Clock& clock = Clock::System();
    curl_off_t bytes_seen = 0;
    absl::Duration last_byte = clock.Monotonic();
    while (!stop.stop_requested()) {
      int running = 0;
      if (const CURLMcode result = curl_multi_perform(multi_, &running); result != CURLM_OK) {
        return absl::InternalError(fmt::format("{}: {}", what_, curl_multi_strerror(result)));
      }
      if (running == 0) return Result();
      const absl::Duration now = clock.Monotonic();
      if (const curl_off_t bytes = BytesMoved(); bytes != bytes_seen) {
        bytes_seen = bytes;
        last_byte = now;
      }
      const absl::Duration patience = silence_timeout - (now - last_byte);
      if (patience <= absl::ZeroDuration()) {
        return absl::DeadlineExceededError(
            fmt::format("{}: no byte came for {}", what_, absl::FormatDuration(silence_timeout)));
      }
      const auto wait_ms = absl::ToInt64Milliseconds(std::min(patience, kLongestPoll)) + 1;
      curl_multi_poll(multi_, nullptr, 0, static_cast<int>(wait_ms), nullptr);
    }
    return absl::CancelledError(fmt::format("{}: stopped", what_));
  }

  absl::Status Result() {
    int left = 0;
    const CURLMsg* message = curl_multi_info_read(multi_, &left);
    UNDERSTUDY_CHECK(message != nullptr && message->msg == CURLMSG_DONE);
    if (!callback_status_.ok()) return callback_status_;
    const CURLcode code = message->data.result;
    return code == CURLE_OK ? absl::OkStatus() : StatusOfCurl(code, what_, error_text_.data());
  }

  // Only to see whether it changes.
  curl_off_t BytesMoved() const {
    curl_off_t uploaded = 0;
    curl_off_t downloaded = 0;
    curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &uploaded);
    curl_easy_getinfo(easy_, CURLINFO_SIZE_DOWNLOAD_T, &downloaded);
    return uploaded + downloaded + static_cast<curl_off_t>(header_bytes_);
  }

  static size_t OnHeader(const char* data, size_t, size_t length, void* self) {
    return static_cast<Session*>(self)->TakeHeader({data, length}) ? length : 0;
  }

  bool TakeHeader(std::string_view line) {
    header_bytes_ += line.size();
    if (header_bytes_ > kMaxHeaderBytes) {
      callback_status_ =
          absl::ResourceExhaustedError(fmt::format("{}: headers are larger than {} bytes", what_, kMaxHeaderBytes));
      return false;
    }
    if (line.starts_with("HTTP/")) response_.headers.clear();  // what came before was an interim answer
    if (line == "\r\n") return TakeBody({});
    if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
      const absl::string_view name(line.data(), colon);
      const absl::string_view value(line.data() + colon + 1, line.size() - colon - 1);
      response_.headers[absl::AsciiStrToLower(name)] = std::string(absl::StripAsciiWhitespace(value));
    }
    return true;
  }

  static size_t OnBody(const char* data, size_t, size_t length, void* self) {
    return static_cast<Session*>(self)->TakeBody({data, length}) ? length : 0;
  }

  bool TakeBody(std::string_view chunk) {
    long code = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &code);
    response_.status = static_cast<int>(code);
    callback_status_ = (*on_chunk_)(response_, chunk);
    return callback_status_.ok();
  }

  const HttpTls& tls_;
  CURLM* const multi_;
  CURL* const easy_;
  CURLcode set_error_ = CURLE_OK;
  std::array<char, CURL_ERROR_SIZE> error_text_{};

  std::string what_;
  HttpResponse response_;
  size_t header_bytes_ = 0;
  const OnChunk* on_chunk_ = nullptr;
  absl::Status callback_status_;
};

HttpClient::HttpClient(HttpTls tls) : tls_(std::move(tls)) {
  static const CURLcode result = InitialiseCurl();
  UNDERSTUDY_CHECK(result == CURLE_OK);
}
HttpClient::~HttpClient() = default;

absl::StatusOr<HttpResponse> HttpClient::Send(const HttpRequest& request, std::stop_token stop) const {
  std::unique_ptr<Session> session = TakeSession();
  const OnChunk collect = [&](const HttpResponse&, std::string_view chunk) {
    return session->Collect(chunk, request.max_response_bytes);
  };
  absl::StatusOr<HttpResponse> response = session->Run(request, std::move(stop), collect);
  if (response.ok()) ReturnSession(std::move(session));
  return response;
}

absl::StatusOr<HttpResponse> HttpClient::Stream(const HttpRequest& request, std::stop_token stop,
                                                const OnChunk& on_chunk) const {
  std::unique_ptr<Session> session = TakeSession();
  absl::StatusOr<HttpResponse> response = session->Run(request, std::move(stop), on_chunk);
  if (response.ok()) ReturnSession(std::move(session));
  return response;
}

std::unique_ptr<HttpClient::Session> HttpClient::TakeSession() const {
  absl::MutexLock lock(&mutex_);
  if (idle_.empty()) return std::make_unique<Session>(tls_);
  std::unique_ptr<Session> session = std::move(idle_.back());
  idle_.pop_back();
  return session;
}

void HttpClient::ReturnSession(std::unique_ptr<Session> session) const {
  absl::MutexLock lock(&mutex_);
  if (idle_.size() < kMaxIdleSessions) idle_.push_back(std::move(session));
}

}  // namespace understudy::net
