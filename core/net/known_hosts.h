// known_hosts.h: the SSH host keys that are trusted, from a file as OpenSSH writes it; for core/net/ssh_session.cc.
//
// Names may be hashed. Lines of `@revoked` keys count for every host; `@cert-authority`, patterns with `*` or `?`, and
// what can't be read are as if they weren't there, so that nothing is trusted by mistake.
#pragma once

#include <libssh2.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace understudy::net {

struct HostKey {
  std::string bytes;  // as it travels
  int type = LIBSSH2_HOSTKEY_TYPE_UNKNOWN;
};
// "ssh-ed25519"; empty: of a kind that isn't known here.
[[nodiscard]] std::string_view AlgorithmOf(const HostKey& key);
// "SHA256:…", as `ssh-keygen -l` shows it.
[[nodiscard]] std::string FingerprintOf(const HostKey& key);

enum class HostKeyVerdict {
  kTrusted,
  kUnknown,  // the file has no key of this kind for any of the names
  kChanged,  // it has another
  kRevoked,
};

// Not thread-safe.
class KnownHosts {
 public:
  // `session` must outlive it. INVALID_ARGUMENT: the file can't be read, or is too large.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<KnownHosts>> Load(LIBSSH2_SESSION* session,
                                                                        const std::filesystem::path& file);

  // The first of `names` for which the file has a key of this kind decides.
  [[nodiscard]] HostKeyVerdict Check(const std::vector<std::string>& names, uint16_t port, const HostKey& key) const;
  // The kinds of keys that the file has for the names, to be asked for first: a server has several.
  [[nodiscard]] std::vector<std::string> AlgorithmsFor(const std::vector<std::string>& names, uint16_t port) const;

 private:
  struct Free {
    void operator()(LIBSSH2_KNOWNHOSTS* hosts) const { libssh2_knownhost_free(hosts); }
  };
  explicit KnownHosts(LIBSSH2_KNOWNHOSTS* hosts) : hosts_(hosts) {}
  void Take(std::string_view line);

  const std::unique_ptr<LIBSSH2_KNOWNHOSTS, Free> hosts_;
  std::set<std::string, std::less<>> revoked_;  // keys in base64
};

}  // namespace understudy::net
