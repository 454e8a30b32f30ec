// tls_files.h: a program's TLS identity on disk, and whether it is fit for use.
#pragma once

#include <filesystem>
#include <string>

#include "core/base/status.h"
#include "core/net/roles.h"

namespace understudy::net {

// PEM files: trusted authorities, own certificate (with its chain), its private key. They are read again while the
// program runs, so that a renewed certificate needs no restart.
struct TlsFiles {
  std::filesystem::path ca;
  std::filesystem::path cert;
  std::filesystem::path key;
};

// INVALID_ARGUMENT, with what to do, when a file can't be read or parsed, the key isn't the certificate's, the
// certificate is out of date, isn't signed by `ca`, or doesn't carry `role`. Blocking file I/O; thread-safe.
[[nodiscard]] absl::Status CheckTlsFiles(const TlsFiles& files, Role role);

}  // namespace understudy::net
