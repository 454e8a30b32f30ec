// s3_credentials.h: the keys of an S3 server, out of files of one secret each, or out of one file as the AWS tools and
// OADP's secret `cloud-credentials` have it:
//
//     [default]
//     aws_access_key_id = AKIA…
//     aws_secret_access_key = …
//     aws_session_token = …
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/status.h"
#include "core/net/secret_file.h"
#include "core/net/sigv4.h"

namespace understudy::net {

// Either credentials_file, or the other files.
struct S3CredentialFiles {
  std::filesystem::path access_key_file = {};
  std::filesystem::path secret_key_file = {};
  std::filesystem::path session_token_file = {};  // may be empty
  std::filesystem::path credentials_file = {};
  std::string profile = "default";
};

// Of a credentials file's text. Pure. INVALID_ARGUMENT: no such profile, or a key is missing; the message holds none of
// the secrets.
[[nodiscard]] absl::StatusOr<AwsCredentials> ParseCredentialsFile(std::string_view text, std::string_view profile);

// Reads the files anew whenever it is asked. Thread-safe.
class S3Credentials {
 public:
  explicit S3Credentials(S3CredentialFiles files);

  // Errors as of SecretFile::Read and ParseCredentialsFile.
  [[nodiscard]] absl::StatusOr<AwsCredentials> Read();

 private:
  const S3CredentialFiles files_;
  SecretFile access_key_;
  SecretFile secret_key_;
  SecretFile session_token_;
};

}  // namespace understudy::net
