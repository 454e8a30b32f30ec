// ssh_server.h: a real OpenSSH server on loopback with a configuration, host keys and a user's key of its own.
#pragma once

#include <memory>
#include <string>

#include "core/base/status.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {

// It signs in the user who runs the test, by key alone. Ends with the object. Not thread-safe.
class SshServer {
 public:
  // Listens when it returns. FAILED_PRECONDITION: there is no sshd; the message says what to install.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SshServer>> Start();
  ~SshServer();
  SshServer(const SshServer&) = delete;
  SshServer& operator=(const SshServer&) = delete;

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] const std::string& user() const { return user_; }
  // Private keys that it takes: one without, and one with the passphrase "open sesame"; and one that it doesn't take.
  [[nodiscard]] std::string KeyFile() const { return folder_.File("user_key"); }
  [[nodiscard]] std::string LockedKeyFile() const { return folder_.File("locked_key"); }
  [[nodiscard]] std::string StrangersKeyFile() const { return folder_.File("stranger_key"); }

  // A file of known hosts with its ed25519 key under `names` ("[127.0.0.1]:<port>" when empty); the server has an ECDSA
  // key, too.
  [[nodiscard]] std::string KnownHosts(const std::string& names = "") const;
  // The same names with another key.
  [[nodiscard]] std::string ChangedKnownHosts() const;
  // "SHA256:…" of its ed25519 key, as ssh-keygen says it.
  [[nodiscard]] std::string Fingerprint() const;
  // "ssh-ed25519 AAAA…" of the host.
  [[nodiscard]] std::string PublicHostKey() const;
  [[nodiscard]] std::string File(const std::string& name) const { return folder_.File(name); }

  [[nodiscard]] std::string Log() const { return process_->Err(); }

 private:
  SshServer() = default;
  [[nodiscard]] absl::Status MakeKeys() const;
  // Its path.
  std::string Write(const std::string& name, const std::string& text) const;

  TempDir folder_;
  std::string user_;
  int port_ = 0;
  std::unique_ptr<Process> process_;
};

}  // namespace understudy::tests
