// mail_server.h: a real SMTP server (smtp_server.py) as a process of a test.
#pragma once

#include <memory>
#include <string>

#include "core/base/status.h"
#include "tests/support/process.h"

namespace understudy::tests {

class MailServer {
 public:
  static constexpr const char* kUser = "understudy";
  static constexpr const char* kPassword = "open sesame";

  // Takes mail when it returns, and keeps it in `folder`, which is made. `certificate` is the path of a certificate and
  // its key without their endings (.crt, .key): mail is taken only over STARTTLS then, from who signs in as kUser;
  // empty: from anybody, in the clear. FAILED_PRECONDITION: it doesn't run (python3-aiosmtpd is one of .ci/packages).
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<MailServer>> Start(const std::string& folder,
                                                                         const std::string& certificate = "");

  // "smtp://127.0.0.1:<port>"
  [[nodiscard]] const std::string& Url() const { return url_; }
  // With the envelope in X-Test-From and X-Test-To; empty while there is none.
  [[nodiscard]] std::string Mail(int number) const;

 private:
  MailServer(std::string folder, std::unique_ptr<Process> process)
      : folder_(std::move(folder)), process_(std::move(process)) {}

  const std::string folder_;
  const std::unique_ptr<Process> process_;
  std::string url_;
};

}  // namespace understudy::tests
