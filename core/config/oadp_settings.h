// oadp_settings.h: where the OADP (Velero) backups of the primary cluster are, and which of them a failover may use.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/config/visitor.h"

namespace understudy::config {

// A bucket of an S3 server, as the BackupStorageLocation of OADP names it. The keys are two files of one secret each,
// or one file as OADP's secret `cloud-credentials` holds it.
struct S3Config {
  std::string endpoint;  // "https://s3.example.com"; empty: Amazon's own for the region
  std::string region = "us-east-1";
  std::string bucket;
  std::string prefix;  // below which `backups/` lies; no slash at either end
  bool path_style = true;
  std::filesystem::path ca;  // empty: the system's authorities
  std::filesystem::path access_key_file;
  std::filesystem::path secret_key_file;
  std::filesystem::path session_token_file;
  std::filesystem::path credentials_file;
  std::string profile = "default";  // of credentials_file
  void Describe(Visitor& v);
};

struct OadpConfig {
  std::string namespace_name = "openshift-adp";
  bool accept_partially_failed = false;
  uint64_t max_archive_bytes = uint64_t{4} << 30;
  S3Config s3;
  std::optional<S3Config> failback_s3{};  // nullopt: a failback restores nothing
  void Describe(Visitor& v);
};

// Pure. Keys are full ones ("oadp.s3.bucket").
[[nodiscard]] std::optional<Problem> FindOadpProblem(const OadpConfig& oadp);

}  // namespace understudy::config
