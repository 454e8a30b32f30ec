// smtp_client.h: sends one mail over libcurl: SMTP with or without STARTTLS, or TLS from the first byte.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::net {

enum class SmtpEncryption { kRequired, kOptional, kNone };

struct SmtpMessage {
  std::string url;                                        // smtp://host:port or smtps://host:port
  SmtpEncryption encryption = SmtpEncryption::kRequired;  // of smtp://
  std::string ca_file;                                    // empty: the system's certificate authorities
  std::string user;                                       // empty: nobody signs in
  std::string password;
  std::string from;             // bare addresses
  std::vector<std::string> to;  // not empty
  std::string data;             // headers and body, lines ending in CRLF
  absl::Duration timeout = absl::Seconds(30);
};

// OK: the server has taken the mail for every recipient. UNAVAILABLE, DEADLINE_EXCEEDED: no connection, no encryption,
// or a temporary refusal (4xx). FAILED_PRECONDITION: the server refuses it for good (5xx), the sign-in included.
// CANCELLED: `stop`. Each names the URL and the reason. Thread-safe.
[[nodiscard]] absl::Status SendMail(const SmtpMessage& message, std::stop_token stop = {});

}  // namespace understudy::net
