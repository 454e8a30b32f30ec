// sync_settings.h: the settings of the scheduled sync: when it runs, how, what it cleans up, and who hears of it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/config/visitor.h"

namespace understudy::config {

// What a cron expression means is told by control/sync/cron.h, which also checks it; here it is text.
struct ScheduleConfig {
  bool enabled = true;
  std::string cron = "0 * * * *";
  std::string time_zone = "UTC";
  void Describe(Visitor& v);
};

struct SyncConfig {
  uint64_t parallelism = 8;                        // volumes at a time
  absl::Duration volume_timeout = absl::Hours(1);  // for one volume's barrier
  void Describe(Visitor& v);
};

// What exists only at DR is deleted there, unless it is too much at a time.
struct StaleConfig {
  bool enabled = true;
  double max_fraction = 0.25;
  uint64_t min_objects = 5;
  void Describe(Visitor& v);
};

enum class StartTls { kRequired, kOptional, kOff };
template <>
struct ChoiceNames<StartTls> {
  static constexpr std::array<std::string_view, 3> kNames = {"required", "optional", "off"};
};

enum class MailWhen { kAlways, kProblems };
template <>
struct ChoiceNames<MailWhen> {
  static constexpr std::array<std::string_view, 2> kNames = {"always", "problems"};
};

struct EmailConfig {
  std::string smtp_url;  // smtp://host:port or smtps://host:port
  StartTls starttls = StartTls::kRequired;
  std::filesystem::path ca;  // empty: the system's authorities
  std::string user;          // empty: nobody signs in
  std::filesystem::path password_file;
  std::string from;
  std::vector<std::string> to;
  MailWhen when = MailWhen::kProblems;
  void Describe(Visitor& v);
};

struct ReportWebhook {
  std::string url;
  std::filesystem::path ca;  // empty: the system's authorities
  std::filesystem::path token_file;
  std::filesystem::path hmac_secret_file;
  void Describe(Visitor& v);
};

struct NotifyConfig {
  std::optional<EmailConfig> email;
  std::vector<ReportWebhook> webhooks;
  void Describe(Visitor& v);
};

// Pure. Keys are full ones ("notify.email.user").
[[nodiscard]] std::optional<Problem> FindNotifyProblem(const NotifyConfig& notify);

}  // namespace understudy::config
