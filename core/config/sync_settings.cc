#include "core/config/sync_settings.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"

namespace understudy::config {
namespace {

constexpr size_t kMaxAddressBytes = 254;  // RFC 5321
constexpr uint64_t kMaxParallelism = 64;
constexpr uint64_t kMaxMinObjects = 1'000'000;

// What stands in an SMTP command and in a header without quoting: so no control character, space, quote or bracket.
absl::Status CheckMailAddress(const std::string& text) {
  const size_t at = text.find('@');
  const bool plain = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c > ' ' && c < 0x7f &&
           std::string_view("<>()[],;:\\\"").find(static_cast<char>(c)) == std::string_view::npos;
  });
  const bool one_at =
      at != std::string::npos && at > 0 && at + 1 < text.size() && text.find('@', at + 1) == std::string::npos;
  if (plain && one_at && text.size() <= kMaxAddressBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("'{}': write a bare mail address, as in storage@example.com", Printable(text)));
}

absl::Status CheckUrl(const std::string& text, std::initializer_list<std::string_view> schemes,
                      std::string_view example) {
  const bool plain = std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
  for (const std::string_view scheme : schemes) {
    if (plain && text.starts_with(scheme) && text.size() > scheme.size() && text.find('@') == std::string::npos) {
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}': write a URL without a user in it, such as {}", Printable(text), example));
}

absl::Status CheckSmtpUrl(const std::string& text) {
  return CheckUrl(text, {"smtp://", "smtps://"}, "smtp://mail.example.com:587");
}
absl::Status CheckWebUrl(const std::string& text) {
  return CheckUrl(text, {"https://", "http://"}, "https://hooks.example.com/understudy");
}

}  // namespace

void ScheduleConfig::Describe(Visitor& v) {
  v.Boolean(
      {.key = "enabled", .doc = "whether `drctl serve` runs the scheduled sync; `clusters.primary` is needed, too"},
      enabled);
  v.Text({.key = "cron",
          .doc = "when: minute, hour, day of month, month, day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, "
                 "`@yearly`"},
         cron, CheckNotEmpty);
  v.Text({.key = "time_zone", .doc = "in which `cron` is meant: a name such as `Europe/Berlin`"}, time_zone,
         CheckNotEmpty);
}

void SyncConfig::Describe(Visitor& v) {
  v.Count({.key = "parallelism", .doc = "how many volumes a scheduled sync works on at a time"}, parallelism, 1,
          kMaxParallelism);
  v.Duration({.key = "volume_timeout", .doc = "a volume whose data isn't across after so long counts as failed"},
             volume_timeout, absl::Seconds(1), absl::Hours(24 * 7));
}

void StaleConfig::Describe(Visitor& v) {
  v.Boolean({.key = "enabled", .doc = "whether a scheduled sync deletes what exists only at DR"}, enabled);
  v.Fraction({.key = "max_fraction",
              .doc = "if more than this part of what Understudy made at DR would be deleted, nothing is; 1 turns the "
                     "guard off"},
             max_fraction, 0, 1);
  v.Count({.key = "min_objects", .doc = "fewer deletions than this are never held back"}, min_objects, 1,
          kMaxMinObjects);
}

void EmailConfig::Describe(Visitor& v) {
  v.Text({.key = "smtp_url",
          .doc = "mail server: `smtp://host:port`, or `smtps://host:port` for TLS from the first byte",
          .required = true},
         smtp_url, CheckSmtpUrl);
  v.Choice({.key = "starttls", .doc = "whether an `smtp://` connection has to be, may be or isn't encrypted"},
           starttls);
  v.Path({.key = "ca",
          .doc = "certificates of the authorities that the mail server is trusted by (PEM)",
          .default_text = "the system's"},
         ca);
  v.Text({.key = "user", .doc = "user to sign in as", .default_text = "nobody signs in"}, user, CheckNotEmpty);
  v.Path({.key = "password_file", .doc = "file with the user's password, readable by the program alone"},
         password_file);
  v.Text({.key = "from", .doc = "sender's address", .required = true}, from, CheckMailAddress);
  v.TextList({.key = "to", .doc = "recipients' addresses", .required = true}, to, CheckMailAddress);
  v.Choice({.key = "when",
            .doc = "after every run of the scheduled sync, or only after those with failures or alerts; after "
                   "a failover in any case"},
           when);
}

void ReportWebhook::Describe(Visitor& v) {
  v.Text({.key = "url", .doc = "where the report is posted to, as JSON", .required = true}, url, CheckWebUrl);
  v.Path({.key = "ca",
          .doc = "certificates of the authorities that the server is trusted by (PEM)",
          .default_text = "the system's"},
         ca);
  v.Path({.key = "token_file", .doc = "file with the bearer token to send"}, token_file);
  v.Path({.key = "hmac_secret_file", .doc = "file with the secret that signs the body, in `x-hub-signature-256`"},
         hmac_secret_file);
}

void NotifyConfig::Describe(Visitor& v) {
  v.Section({.key = "email", .doc = "reports by mail"}, email);
  v.List({.key = "webhooks", .doc = "reports to web servers, after every run"}, webhooks);
}

std::optional<Problem> FindNotifyProblem(const NotifyConfig& notify) {
  for (size_t i = 0; i < notify.webhooks.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (notify.webhooks[i].url != notify.webhooks[j].url) continue;
      return Problem{fmt::format("notify.webhooks[{}].url", i), fmt::format("is webhooks[{}], too: keep one", j)};
    }
  }
  if (!notify.email) return std::nullopt;
  const EmailConfig& email = *notify.email;
  if (email.to.empty()) return Problem{"notify.email.to", "an empty list: write at least one"};
  if (email.user.empty() != email.password_file.empty()) {
    return Problem{"notify.email.user", "user and password_file belong together: write both or none"};
  }
  const bool encrypted = email.starttls == StartTls::kRequired || email.smtp_url.starts_with("smtps://");
  if (!email.user.empty() && !encrypted) {
    return Problem{"notify.email.starttls", "the password would travel unencrypted: write required, or use smtps://"};
  }
  return std::nullopt;
}

}  // namespace understudy::config
