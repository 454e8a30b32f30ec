// pki.h: a small certificate authority for the three roles, in one folder: ca.crt and ca.key, and a pair of files for
// each program. P-256 keys, SHA-256 signatures, PEM.
//
// Private keys have mode 0600 from the moment they exist. Each file appears whole or not at all, and none is replaced
// unless `force` says so (ALREADY_EXISTS). Blocking file I/O; not meant for two processes at once in one folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/net/roles.h"
#include "core/net/tls_files.h"

namespace understudy::net {

inline constexpr int kAuthorityDays = 3650;
inline constexpr int kDefaultCertificateDays = 365;
inline constexpr int kMaxCertificateDays = 3650;

// Makes ca.crt and ca.key in `folder`, which is made with mode 0700 when missing.
[[nodiscard]] absl::Status InitAuthority(const std::filesystem::path& folder, bool force);

struct IssueRequest {
  std::string name;  // of the files: <name>.crt and <name>.key
  std::vector<Role> roles;
  std::vector<std::string>
      hosts;  // names and IP addresses under which the program is reached; may be empty for a client
  int days = kDefaultCertificateDays;
  bool force = false;
};

// Issues a certificate for a new key. NOT_FOUND: `folder` has no authority. INVALID_ARGUMENT: a name, host or number of
// days that can't be.
[[nodiscard]] absl::StatusOr<TlsFiles> IssueCertificate(const std::filesystem::path& folder,
                                                        const IssueRequest& request);

}  // namespace understudy::net
