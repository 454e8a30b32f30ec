#include "core/net/secret_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "core/base/log.h"

namespace understudy::net {
namespace {

using Digest = std::array<unsigned char, EVP_MAX_MD_SIZE>;

// Closes what it holds.
class OpenFile {
 public:
  explicit OpenFile(const char* path) : fd_(open(path, O_RDONLY | O_CLOEXEC)) {}
  ~OpenFile() {
    if (fd_ >= 0) close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::StatusOr<std::string> ReadAll(int fd, const std::string& what) {
  std::string text(kMaxSecretBytes + 1, '\0');
  size_t length = 0;
  while (length < text.size()) {
    const ssize_t got = read(fd, text.data() + length, text.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, what);
    if (got == 0) break;
    length += static_cast<size_t>(got);
  }
  text.resize(length);
  return text;
}

absl::StatusOr<std::string> SecretOf(const std::string& text, const std::string& what) {
  if (text.size() > kMaxSecretBytes) {
    return absl::InvalidArgumentError(
        fmt::format("{}: larger than {} bytes: is it the right file?", what, kMaxSecretBytes));
  }
  std::string secret(absl::StripAsciiWhitespace(text));
  if (secret.empty()) return absl::InvalidArgumentError(fmt::format("{}: it is empty: write the secret into it", what));
  if (std::any_of(secret.begin(), secret.end(),
                  [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); })) {
    return absl::InvalidArgumentError(fmt::format("{}: write one line of text", what));
  }
  return secret;
}

}  // namespace

absl::StatusOr<std::string> ReadSecretText(const std::filesystem::path& path) {
  const std::string what = fmt::format("can't use secret file {}", Printable(path.native()));
  const OpenFile file(path.c_str());
  if (file.fd() < 0) return ErrnoStatus(errno, what);
  ASSIGN_OR_RETURN(std::string text, ReadAll(file.fd(), what));
  if (text.size() <= kMaxSecretBytes) return text;
  return absl::InvalidArgumentError(
      fmt::format("{}: larger than {} bytes: is it the right file?", what, kMaxSecretBytes));
}

absl::StatusOr<std::string> SecretFile::Read() {
  const std::string what = fmt::format("can't use secret file {}", Printable(path_.native()));
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0) return ErrnoStatus(errno, what);
  const auto identity_of = [](const struct stat& from) {
    return Identity{from.st_dev, from.st_ino, from.st_size, from.st_ctim.tv_sec * 1'000'000'000 + from.st_ctim.tv_nsec};
  };
  absl::MutexLock lock(&mutex_);
  if (read_from_ == identity_of(status)) return secret_;
  read_from_.reset();
  const OpenFile file(path_.c_str());
  if (file.fd() < 0 || fstat(file.fd(), &status) != 0) return ErrnoStatus(errno, what);
  ASSIGN_OR_RETURN(const std::string text, ReadAll(file.fd(), what));
  ASSIGN_OR_RETURN(secret_, SecretOf(text, what));
  read_from_ = identity_of(status);
  return secret_;
}

bool SameSecret(std::string_view given, std::string_view expected) {
  // Digests are of one length, so that not even the secret's shows.
  std::array<Digest, 2> digests{};
  unsigned length = 0;
  EVP_Digest(given.data(), given.size(), digests[0].data(), &length, EVP_sha256(), nullptr);
  EVP_Digest(expected.data(), expected.size(), digests[1].data(), &length, EVP_sha256(), nullptr);
  return CRYPTO_memcmp(digests[0].data(), digests[1].data(), length) == 0;
}

std::string HubSignature(std::string_view secret, std::string_view body) {
  Digest digest{};
  unsigned length = 0;
  const unsigned char* const made =
      HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
           reinterpret_cast<const unsigned char*>(body.data()), body.size(), digest.data(), &length);
  UNDERSTUDY_CHECK(made != nullptr);
  std::string text = "sha256=";
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace understudy::net
