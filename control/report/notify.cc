#include "control/report/notify.h"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "control/report/mail.h"
#include "core/base/log.h"
#include "core/net/http_client.h"
#include "core/net/secret_file.h"
#include "core/net/smtp_client.h"

namespace understudy::control {
namespace {

constexpr std::string_view kEmailTarget = "email";
constexpr absl::Duration kDeliveryTimeout = absl::Seconds(30);
constexpr size_t kMaxSecretBytes = 64 << 10;
constexpr size_t kMaxAnswerBytes = 1 << 20;

// The file's text without white space around it. FAILED_PRECONDITION: it can't be read, or is empty.
absl::StatusOr<std::string> ReadSecret(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxSecretBytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  absl::StripAsciiWhitespace(&text);
  if (text.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("secret file {}: can't be read, or is empty", Printable(path.native())));
  }
  return text;
}

net::SmtpEncryption EncryptionOf(config::StartTls starttls) {
  switch (starttls) {
    case config::StartTls::kRequired:
      return net::SmtpEncryption::kRequired;
    case config::StartTls::kOptional:
      return net::SmtpEncryption::kOptional;
    case config::StartTls::kOff:
      return net::SmtpEncryption::kNone;
  }
  AbortOnBrokenInvariant("known StartTls", __FILE__, __LINE__);
}

absl::Status DeliverMail(const config::EmailConfig& config, const std::string& id, const Deliverable& report,
                         std::stop_token stop) {
  net::SmtpMessage message;
  message.url = config.smtp_url;
  message.encryption = EncryptionOf(config.starttls);
  message.ca_file = config.ca.native();
  message.user = config.user;
  if (!config.user.empty()) {
    ASSIGN_OR_RETURN(message.password, ReadSecret(config.password_file));
  }
  message.from = config.from;
  message.to = config.to;
  message.timeout = kDeliveryTimeout;
  message.data = ComposeMail(report, {.from = config.from, .to = config.to, .date = report.date, .id = id});
  return net::SendMail(message, std::move(stop));
}

// "https://hooks.example.com:8443": without user, path and query.
std::string HostOf(const std::string& url) {
  const size_t scheme = url.find("://");
  const size_t begin = scheme == std::string::npos ? 0 : scheme + 3;
  const std::string authority = url.substr(begin, url.find_first_of("/?#", begin) - begin);
  return url.substr(0, begin) + authority.substr(authority.rfind('@') + 1);
}

std::vector<std::string> WebhookNames(const config::NotifyConfig& config) {
  std::map<std::string, int> seen;
  std::vector<std::string> names;
  for (const config::ReportWebhook& webhook : config.webhooks) {
    const std::string host = HostOf(webhook.url);
    const int number = ++seen[host];
    names.push_back(number == 1 ? host : fmt::format("{} #{}", host, number));
  }
  return names;
}

// An error whose message shows no more of the URL than its host.
absl::Status WithoutUrl(const absl::Status& status, const std::string& url) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrReplaceAll(status.message(), {{url, HostOf(url)}}));
}

absl::Status DeliverToWebhook(const config::ReportWebhook& config, const std::string& id, const Deliverable& report,
                              std::stop_token stop) {
  net::HttpRequest request;
  request.method = "POST";
  request.url = config.url;
  request.body = report.json;
  request.headers = {{"Content-Type", "application/json"}, {"User-Agent", "understudy"}, {"X-Understudy-Delivery", id}};
  request.total_timeout = kDeliveryTimeout;
  request.max_response_bytes = kMaxAnswerBytes;
  if (!config.token_file.empty()) {
    ASSIGN_OR_RETURN(request.bearer_token, ReadSecret(config.token_file));
  }
  if (!config.hmac_secret_file.empty()) {
    ASSIGN_OR_RETURN(const std::string secret, ReadSecret(config.hmac_secret_file));
    request.headers.emplace_back("X-Hub-Signature-256", net::HubSignature(secret, request.body));
  }
  net::HttpTls tls;
  tls.ca_file = config.ca.native();
  ASSIGN_OR_RETURN(const net::HttpResponse response, net::HttpClient(tls).Send(request, std::move(stop)));
  if (response.status >= 200 && response.status < 300) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("POST {}: HTTP {}", config.url, response.status));
}

}  // namespace

std::vector<std::string> TargetsOf(const config::NotifyConfig& config, bool noteworthy) {
  std::vector<std::string> targets;
  if (config.email && (config.email->when == config::MailWhen::kAlways || noteworthy)) {
    targets.emplace_back(kEmailTarget);
  }
  for (std::string& name : WebhookNames(config)) targets.push_back(std::move(name));
  return targets;
}

absl::Status Notifier::Deliver(const std::string& target, const std::string& id, const Deliverable& report,
                               std::stop_token stop) {
  if (target == kEmailTarget && config_.email) return DeliverMail(*config_.email, id, report, std::move(stop));
  const std::vector<std::string> names = WebhookNames(config_);
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] != target) continue;
    const config::ReportWebhook& webhook = config_.webhooks[i];
    return WithoutUrl(DeliverToWebhook(webhook, id, report, std::move(stop)), webhook.url);
  }
  return absl::NotFoundError(fmt::format("the configuration doesn't name {} any more", target));
}

}  // namespace understudy::control
