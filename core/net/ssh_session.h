// ssh_session.h: a connection to an SSH server that is known, and commands run over it.
//
// libssh2 does the protocol. Nothing here blocks past its deadline or a stop request, but for a host name that the
// resolver is slow with and an ssh-agent that doesn't answer. Files are never transferred.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::net {

struct SshTarget {
  std::string host;  // name or address
  uint16_t port = 22;
  std::string user;
  std::filesystem::path key_file;         // PEM or OpenSSH's form; empty: the keys of the ssh-agent at $SSH_AUTH_SOCK
  std::filesystem::path passphrase_file;  // of the key; empty: it has none
  std::filesystem::path known_hosts;
  // Names under which known_hosts is to be looked through before `host`: what a machine is called whose address
  // changes.
  std::vector<std::string> known_as;
};

struct SshRun {
  std::optional<int> exit_code;  // nullopt: it ended by a signal
  std::string signal;            // "KILL"; empty: it ended by itself
  std::string out;               // what came on stdout, up to the limit
  std::string err;
  bool truncated = false;  // more came than is kept
};

// Not thread-safe. Errors of every call:
//   UNAVAILABLE         no connection, or it broke
//   UNAUTHENTICATED     the server isn't who it should be: its key is unknown, another, or revoked. The message has the
//                       fingerprint, the file, and what to do
//   PERMISSION_DENIED   the server doesn't take the user's key
//   INVALID_ARGUMENT    a file of the target can't be read or isn't what it should be
//   NOT_FOUND           no such host
//   DEADLINE_EXCEEDED, CANCELLED  the timeout is over; `stop`
class SshSession {
 public:
  // Connects, checks the server's key and signs in, within `timeout`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SshSession>> Connect(const SshTarget& target,
                                                                           absl::Duration timeout,
                                                                           std::stop_token stop);
  ~SshSession();
  SshSession(const SshSession&) = delete;
  SshSession& operator=(const SshSession&) = delete;

  // Runs `command` by the user's shell, with nothing on its stdin, to its end. Of its output `max_output_bytes` of each
  // kind are kept, and the rest read and dropped. After an error the session can't be used any more.
  [[nodiscard]] absl::StatusOr<SshRun> Run(const std::string& command, size_t max_output_bytes, absl::Duration timeout,
                                           std::stop_token stop);

 private:
  class Link;
  explicit SshSession(std::unique_ptr<Link> link);

  const std::unique_ptr<Link> link_;
};

}  // namespace understudy::net
