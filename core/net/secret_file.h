// secret_file.h: bearer tokens and signing secrets: read from files, compared in constant time, and used to sign.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"

namespace understudy::net {

inline constexpr size_t kMaxSecretBytes = 64 * 1024;

// The whole text of a file of several secrets. Errors as of SecretFile::Read, but for what is in it.
[[nodiscard]] absl::StatusOr<std::string> ReadSecretText(const std::filesystem::path& path);

// A file that holds one secret, without the white space around it. It is read again when it changes, so that a renewed
// secret needs no restart. Thread-safe.
class SecretFile {
 public:
  explicit SecretFile(std::filesystem::path path) : path_(std::move(path)) {}

  // NOT_FOUND or PERMISSION_DENIED: can't be read. INVALID_ARGUMENT: empty, too large, or holds control characters. An
  // old secret never counts once its file is gone.
  [[nodiscard]] absl::StatusOr<std::string> Read();

 private:
  // What tells one content of the file from another.
  struct Identity {
    uint64_t device = 0;
    uint64_t inode = 0;
    int64_t size = 0;
    int64_t changed_nanoseconds = 0;
    friend bool operator==(const Identity&, const Identity&) = default;
  };

  const std::filesystem::path path_;
  absl::Mutex mutex_;
  std::optional<Identity> read_from_ ABSL_GUARDED_BY(mutex_);
  std::string secret_ ABSL_GUARDED_BY(mutex_);
};

// Takes as long whatever is alike about the two. Pure.
[[nodiscard]] bool SameSecret(std::string_view given, std::string_view expected);

// "sha256=<hex>": HMAC-SHA256 of `body`, as the header x-hub-signature-256 carries it. Pure.
[[nodiscard]] std::string HubSignature(std::string_view secret, std::string_view body);

}  // namespace understudy::net
