#include "core/net/smtp_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string_view>

#include "core/net/http_client.h"

namespace understudy::net {
namespace {

constexpr long kFirstRefusal = 500;

struct Handle {
  CURL* easy = nullptr;
  curl_slist* recipients = nullptr;
  Handle() : easy(curl_easy_init()) { UNDERSTUDY_CHECK(easy != nullptr); }
  ~Handle() {
    curl_easy_cleanup(easy);
    curl_slist_free_all(recipients);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  void AddRecipient(const std::string& address) {
    curl_slist* const longer = curl_slist_append(recipients, fmt::format("<{}>", address).c_str());
    UNDERSTUDY_CHECK(longer != nullptr);
    recipients = longer;
  }
};

size_t OnRead(char* buffer, size_t size, size_t count, void* rest) {
  std::string_view& left = *static_cast<std::string_view*>(rest);
  const size_t length = std::min(size * count, left.size());
  if (length > 0) std::memcpy(buffer, left.data(), length);
  left.remove_prefix(length);
  return length;
}

int OnProgress(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::stop_token*>(stop)->stop_requested() ? 1 : 0;
}

long UseSslOf(SmtpEncryption encryption) {
  switch (encryption) {
    case SmtpEncryption::kRequired:
      return CURLUSESSL_ALL;
    case SmtpEncryption::kOptional:
      return CURLUSESSL_TRY;
    case SmtpEncryption::kNone:
      return CURLUSESSL_NONE;
  }
  AbortOnBrokenInvariant("known SmtpEncryption", __FILE__, __LINE__);
}

absl::Status StatusOf(CURLcode code, CURL* easy, const std::string& url, const char* detail) {
  if (code == CURLE_OK) return absl::OkStatus();
  const std::string message = fmt::format("mail by {}: {}", url, *detail != '\0' ? detail : curl_easy_strerror(code));
  long answer = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer);
  if (code == CURLE_ABORTED_BY_CALLBACK) return absl::CancelledError(message);
  if (code == CURLE_OPERATION_TIMEDOUT) return absl::DeadlineExceededError(message);
  if (code == CURLE_LOGIN_DENIED || answer >= kFirstRefusal) return absl::FailedPreconditionError(message);
  return absl::UnavailableError(message);
}

}  // namespace

absl::Status SendMail(const SmtpMessage& message, std::stop_token stop) {
  const HttpClient initialises_curl({});
  Handle handle;
  std::array<char, CURL_ERROR_SIZE> detail{};
  std::string_view rest = message.data;
  CURLcode failed = CURLE_OK;
  const auto set = [&](CURLoption option, auto value) {
    const CURLcode result = curl_easy_setopt(handle.easy, option, value);
    if (failed == CURLE_OK) failed = result;
  };
  for (const std::string& address : message.to) handle.AddRecipient(address);
  set(CURLOPT_ERRORBUFFER, detail.data());
  set(CURLOPT_URL, message.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "smtp,smtps");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(message.timeout)));
  set(CURLOPT_USE_SSL, UseSslOf(message.encryption));
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!message.ca_file.empty()) set(CURLOPT_CAINFO, message.ca_file.c_str());
  if (!message.user.empty()) {
    set(CURLOPT_USERNAME, message.user.c_str());
    set(CURLOPT_PASSWORD, message.password.c_str());
  }
  set(CURLOPT_MAIL_FROM, fmt::format("<{}>", message.from).c_str());
  set(CURLOPT_MAIL_RCPT, handle.recipients);
  set(CURLOPT_UPLOAD, 1L);
  set(CURLOPT_READFUNCTION, &OnRead);
  set(CURLOPT_READDATA, &rest);
  set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(message.data.size()));
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &OnProgress);
  set(CURLOPT_XFERINFODATA, &stop);
  if (failed != CURLE_OK) {
    return absl::InvalidArgumentError(fmt::format("mail by {}: {}", message.url, curl_easy_strerror(failed)));
  }
  return StatusOf(curl_easy_perform(handle.easy), handle.easy, message.url, detail.data());
}

}  // namespace understudy::net
