#include "core/net/s3_credentials.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "core/base/log.h"

namespace understudy::net {
namespace {

// Some AWS tools write "[profile name]".
bool IsSection(absl::string_view line, std::string_view profile) {
  if (!(line.size() > 2 && line.front() == '[' && line.back() == ']')) return false;
  const absl::string_view name = absl::StripAsciiWhitespace(line.substr(1, line.size() - 2));
  const std::string text(name);
  return text == profile || text == fmt::format("profile {}", profile);
}

}  // namespace

absl::StatusOr<AwsCredentials> ParseCredentialsFile(std::string_view text, std::string_view profile) {
  AwsCredentials credentials;
  bool found = false;
  bool inside = false;
  for (const absl::string_view raw : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    const absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      inside = IsSection(line, profile);
      found = found || inside;
      continue;
    }
    const size_t equals = line.find('=');
    if (!inside || equals == absl::string_view::npos) continue;
    const std::string name = absl::AsciiStrToLower(absl::StripAsciiWhitespace(line.substr(0, equals)));
    const std::string value(absl::StripAsciiWhitespace(line.substr(equals + 1)));
    if (name == "aws_access_key_id") credentials.access_key = value;
    if (name == "aws_secret_access_key") credentials.secret_key = value;
    if (name == "aws_session_token") credentials.session_token = value;
  }
  if (!found) return absl::InvalidArgumentError(fmt::format("it has no section [{}]", Printable(profile)));
  if (credentials.access_key.empty() || credentials.secret_key.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("its section [{}] lacks {}", Printable(profile),
                    credentials.access_key.empty() ? "aws_access_key_id" : "aws_secret_access_key"));
  }
  const auto one_line = [](const std::string& value) {
    return std::none_of(value.begin(), value.end(),
                        [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); });
  };
  if (!one_line(credentials.access_key) || !one_line(credentials.session_token)) {
    return absl::InvalidArgumentError(
        fmt::format("a key in section [{}] holds a control character", Printable(profile)));
  }
  return credentials;
}

S3Credentials::S3Credentials(S3CredentialFiles files)
    : files_(std::move(files)),
      access_key_(files_.access_key_file),
      secret_key_(files_.secret_key_file),
      session_token_(files_.session_token_file) {}

absl::StatusOr<AwsCredentials> S3Credentials::Read() {
  if (!files_.credentials_file.empty()) {
    ASSIGN_OR_RETURN(const std::string text, ReadSecretText(files_.credentials_file));
    absl::StatusOr<AwsCredentials> credentials = ParseCredentialsFile(text, files_.profile);
    if (credentials.ok()) return credentials;
    return Annotate(credentials.status(),
                    fmt::format("can't use credentials file {}", Printable(files_.credentials_file.native())));
  }
  AwsCredentials credentials;
  ASSIGN_OR_RETURN(credentials.access_key, access_key_.Read());
  ASSIGN_OR_RETURN(credentials.secret_key, secret_key_.Read());
  if (!files_.session_token_file.empty()) {
    ASSIGN_OR_RETURN(credentials.session_token, session_token_.Read());
  }
  return credentials;
}

}  // namespace understudy::net
