#include "core/net/known_hosts.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>

#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"

namespace understudy::net {
namespace {

constexpr size_t kMaxFileBytes = size_t{4} << 20;
constexpr std::string_view kRevoked = "@revoked";

struct KeyKind {
  int host_key_type;
  int known_host_bits;
  std::string_view algorithm;
};
constexpr KeyKind kKinds[] = {
    {LIBSSH2_HOSTKEY_TYPE_ED25519, LIBSSH2_KNOWNHOST_KEY_ED25519, "ssh-ed25519"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_256, LIBSSH2_KNOWNHOST_KEY_ECDSA_256, "ecdsa-sha2-nistp256"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_384, LIBSSH2_KNOWNHOST_KEY_ECDSA_384, "ecdsa-sha2-nistp384"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_521, LIBSSH2_KNOWNHOST_KEY_ECDSA_521, "ecdsa-sha2-nistp521"},
    {LIBSSH2_HOSTKEY_TYPE_RSA, LIBSSH2_KNOWNHOST_KEY_SSHRSA, "ssh-rsa"},
};

const KeyKind* KindOf(const HostKey& key) {
  for (const KeyKind& kind : kKinds) {
    if (kind.host_key_type == key.type) return &kind;
  }
  return nullptr;
}

std::string Base64(std::string_view bytes) {
  return absl::Base64Escape(absl::string_view(bytes.data(), bytes.size()));
}

}  // namespace

std::string_view AlgorithmOf(const HostKey& key) {
  const KeyKind* const kind = KindOf(key);
  return kind != nullptr ? kind->algorithm : std::string_view();
}

std::string FingerprintOf(const HostKey& key) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(key.bytes.data()), key.bytes.size(), digest.data());
  std::string text = Base64({reinterpret_cast<const char*>(digest.data()), digest.size()});
  while (text.ends_with('=')) text.pop_back();
  return "SHA256:" + text;
}

absl::StatusOr<std::unique_ptr<KnownHosts>> KnownHosts::Load(LIBSSH2_SESSION* session,
                                                             const std::filesystem::path& file) {
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    return absl::InvalidArgumentError(
        ErrnoStatus(errno != 0 ? errno : ENOENT, fmt::format("file of known hosts {}", file.native())).message());
  }
  std::string text(kMaxFileBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(stream.gcount()));
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        fmt::format("file of known hosts {} has more than {} bytes", file.native(), kMaxFileBytes));
  }
  LIBSSH2_KNOWNHOSTS* const hosts = libssh2_knownhost_init(session);
  UNDERSTUDY_CHECK(hosts != nullptr);
  std::unique_ptr<KnownHosts> known(new KnownHosts(hosts));
  for (const absl::string_view line : absl::StrSplit(text, '\n')) known->Take({line.data(), line.size()});
  return known;
}

void KnownHosts::Take(std::string_view line) {
  if (line.starts_with(kRevoked)) {
    const std::vector<std::string> words =
        absl::StrSplit(absl::string_view(line.data(), line.size()), absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    constexpr size_t kWords = 4;  // the mark, names, kind, key
    if (words.size() >= kWords) revoked_.insert(words[kWords - 1]);
    return;
  }
  if (line.empty() || line.starts_with('#') || line.starts_with('@')) return;
  // libssh2 looks at the character after the line's end, too, so it gets a line that ends there. One that it can't read
  // trusts nobody; the rest of the file still counts.
  std::string own(line);
  if (own.ends_with('\r')) own.pop_back();
  static_cast<void>(libssh2_knownhost_readline(hosts_.get(), own.c_str(), own.size(), LIBSSH2_KNOWNHOST_FILE_OPENSSH));
}

HostKeyVerdict KnownHosts::Check(const std::vector<std::string>& names, uint16_t port, const HostKey& key) const {
  const std::string text = Base64(key.bytes);
  if (revoked_.contains(text)) return HostKeyVerdict::kRevoked;
  const KeyKind* const kind = KindOf(key);
  if (kind == nullptr) return HostKeyVerdict::kUnknown;
  for (const std::string& name : names) {
    const int result = libssh2_knownhost_checkp(
        hosts_.get(), name.c_str(), port, text.c_str(), text.size(),
        LIBSSH2_KNOWNHOST_TYPE_PLAIN | LIBSSH2_KNOWNHOST_KEYENC_BASE64 | kind->known_host_bits, nullptr);
    if (result == LIBSSH2_KNOWNHOST_CHECK_MATCH) return HostKeyVerdict::kTrusted;
    if (result == LIBSSH2_KNOWNHOST_CHECK_MISMATCH) return HostKeyVerdict::kChanged;
  }
  return HostKeyVerdict::kUnknown;
}

std::vector<std::string> KnownHosts::AlgorithmsFor(const std::vector<std::string>& names, uint16_t port) const {
  // A key that no host has: a mismatch says that the file has one of that kind.
  constexpr std::string_view kNoKey = "none";
  for (const std::string& name : names) {
    std::vector<std::string> algorithms;
    for (const KeyKind& kind : kKinds) {
      const int result = libssh2_knownhost_checkp(
          hosts_.get(), name.c_str(), port, kNoKey.data(), kNoKey.size(),
          LIBSSH2_KNOWNHOST_TYPE_PLAIN | LIBSSH2_KNOWNHOST_KEYENC_BASE64 | kind.known_host_bits, nullptr);
      if (result == LIBSSH2_KNOWNHOST_CHECK_MISMATCH) algorithms.emplace_back(kind.algorithm);
    }
    if (!algorithms.empty()) return algorithms;
  }
  return {};
}

}  // namespace understudy::net
