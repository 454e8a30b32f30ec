// s3_server.h: a real S3 server on loopback: Debian's Swift with its s3api, which checks signatures and digests.
//
// Everything lies in a folder of the test's own, and every process ends with the object.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/net/http_client.h"
#include "core/net/sigv4.h"
#include "tests/support/process.h"

namespace understudy::tests {

class S3Server {
 public:
  static constexpr const char* kAccessKey = "test:dr";
  static constexpr const char* kSecretKey = "secret-of-the-tests";
  static constexpr const char* kRegion = "us-east-1";

  struct Certificate {
    std::string certificate_file;  // PEM
    std::string key_file;
  };
  // Answers when it returns. `folder` is made. With a certificate it is reached over TLS, too. FAILED_PRECONDITION: it
  // doesn't run here (the packages are in .ci/packages).
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<S3Server>> Start(
      const std::string& folder, const std::optional<Certificate>& certificate = std::nullopt);

  [[nodiscard]] const std::string& Url() const { return url_; }         // "http://127.0.0.1:<port>"
  [[nodiscard]] const std::string& TlsUrl() const { return tls_url_; }  // "https://127.0.0.1:<port>"; empty without
  // Files that hold the keys, and both in OADP's form.
  [[nodiscard]] std::string AccessKeyFile() const { return folder_ + "/access-key"; }
  [[nodiscard]] std::string SecretKeyFile() const { return folder_ + "/secret-key"; }
  [[nodiscard]] std::string CredentialsFile() const { return folder_ + "/cloud"; }

  [[nodiscard]] absl::Status MakeBucket(const std::string& bucket);
  [[nodiscard]] absl::Status Put(const std::string& bucket, const std::string& key, const std::string& bytes);
  [[nodiscard]] absl::StatusOr<std::string> Get(const std::string& bucket, const std::string& key);
  [[nodiscard]] absl::Status Delete(const std::string& bucket, const std::string& key);

 private:
  explicit S3Server(std::string folder) : folder_(std::move(folder)), http_({}) {}

  [[nodiscard]] absl::Status WriteConfiguration(const std::optional<Certificate>& certificate);
  [[nodiscard]] absl::Status StartProcesses(bool tls);
  // Signed. Any answer but one of success is an error with what the server said.
  [[nodiscard]] absl::StatusOr<std::string> Request(const std::string& method, const std::string& path,
                                                    const std::string& body);

  const std::string folder_;
  const net::HttpClient http_;
  int memcached_port_ = 0;
  std::string url_;
  std::string tls_url_;
  std::vector<std::unique_ptr<Process>> processes_;
};

}  // namespace understudy::tests
