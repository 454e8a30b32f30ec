#include "control/report/mail.h"

#include <fmt/format.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"

namespace understudy::control {
namespace {

constexpr size_t kBase64Line = 76;
constexpr size_t kMaxSubjectBytes = 200;

std::string Base64Lines(const std::string& text) {
  const std::string encoded = absl::Base64Escape(text);
  std::string lines;
  for (size_t i = 0; i < encoded.size(); i += kBase64Line) lines += encoded.substr(i, kBase64Line) + "\r\n";
  return lines;
}

std::string Part(const std::string& boundary, const std::string& type, const std::string& text) {
  return fmt::format("--{}\r\nContent-Type: {}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
                     boundary, type, Base64Lines(text));
}

}  // namespace

std::string ComposeMail(const Deliverable& report, const MailHead& head) {
  const std::string boundary = "understudy-" + head.id;
  const std::string domain = head.from.substr(head.from.find('@') + 1);
  return fmt::format(
             "Date: {}\r\nFrom: <{}>\r\nTo: {}\r\nSubject: {}\r\nMessage-ID: <{}@{}>\r\nAuto-Submitted: "
             "auto-generated\r\n"
             "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"{}\"\r\n\r\n",
             absl::FormatTime("%a, %d %b %Y %H:%M:%S %z", head.date, absl::UTCTimeZone()), head.from,
             absl::StrJoin(head.to, ",\r\n ",
                           [](std::string* out, const std::string& address) { *out += "<" + address + ">"; }),
             report.subject.substr(0, kMaxSubjectBytes), head.id, domain, boundary) +
         Part(boundary, "text/plain", report.text) + Part(boundary, "text/html", report.html) +
         fmt::format("--{}--\r\n", boundary);
}

}  // namespace understudy::control
