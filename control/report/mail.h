// mail.h: a report as one mail: text and HTML side by side. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/report/deliverable.h"

namespace understudy::control {

struct MailHead {
  std::string from;
  std::vector<std::string> to;
  absl::Time date;
  std::string id;  // unique; of letters, digits and dashes
};

// Headers and body (RFC 5322, MIME multipart/alternative, both parts in base64), lines ending in CRLF. `head`'s
// addresses are bare ones, checked when the configuration was read.
[[nodiscard]] std::string ComposeMail(const Deliverable& report, const MailHead& head);

}  // namespace understudy::control
